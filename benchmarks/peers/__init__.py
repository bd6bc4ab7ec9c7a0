"""Other training programs and `bench run` on the same work, each as a process of its own."""
