"""The network as a tree, for plugins that want pods close together."""
