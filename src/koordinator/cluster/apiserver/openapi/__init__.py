"""OpenAPI documents, versions 2 and 3: what ``kubectl explain``, client-side validation and generators read."""
