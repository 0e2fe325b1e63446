"""While libraries load: Ctrl-C waits until they have, and so does the garbage collector."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def libraries() -> Iterator[None]:
    """Load libraries within the block.

    Ctrl-C is held back, and raises KeyboardInterrupt after it: extension modules run Python while they are
    imported, and some of them end the process, or leave it with the signal's exit code, when that is
    interrupted. The collector would look in vain through what is loaded: it stays.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with _interrupts_held():
            yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed and before is not signal.SIG_IGN:
        raise KeyboardInterrupt
