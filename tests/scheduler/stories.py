"""An outcome that remembers what it was told."""


class Story:
    def __init__(self):
        self.refused, self.errors, self.done, self.hushed = {}, {}, [], []

    def assumed(self, binding): ...

    def unschedulable(self, pod, diagnosis):
        self.refused[pod.info.name] = diagnosis.message

    def error(self, pod, message):
        self.errors[pod.info.name] = message

    def handled(self, pod):
        self.hushed.append(pod.info.name)

    def bound(self, binding):
        self.done.append(binding.pod.info.name)
