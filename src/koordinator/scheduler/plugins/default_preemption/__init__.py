"""DefaultPreemption: make room for a pod by evicting pods of lower priority, as few and as unimportant ones as possible."""
