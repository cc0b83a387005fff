"""How worker processes behave: they leave stopping to their parent, and do not outlive it."""

import multiprocessing
import os
import signal
import threading


def follow_parent() -> None:
    """A pool's initializer, in processes that multiprocessing started."""
    # Ctrl-C reaches the whole process group: the parent alone decides, and the clip at hand is finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_parent() -> None:
        # A killed parent cannot tell: without this its workers would wait for tasks for ever.
        parent.join()
        os._exit(1)

    threading.Thread(target=die_with_parent, daemon=True).start()
