"""A window that shows a game to the person who plays it; tkinter, so nothing to install."""

from PIL import Image

from nitrogen_train.games import Frame

_HEIGHT_PX = 600
"""Small pictures are enlarged by whole numbers up to about this."""


class WindowClosedError(RuntimeError):
    """The person has had enough."""


class GameWindow:
    """Shows frames, one after another, until it is closed or Escape is pressed."""

    def __init__(self, title: str) -> None:
        """Open it.

        Args:
            title: What is played.

        Raises:
            RuntimeError: If there is no display, or this Python has no tkinter.
        """
        try:
            import tkinter
        except ImportError as error:
            raise RuntimeError(
                "a person needs a window, and this Python has no tkinter (Debian and Ubuntu: "
                "apt install python3-tk)"
            ) from error
        try:
            self._root = tkinter.Tk(className="nitrogen-data")
        except tkinter.TclError as error:
            raise RuntimeError(
                f"a person needs a display to play on: {error}; --player expert needs none"
            ) from error
        self._title = title
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._is_closed = False
        self._picture = None
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        self._root.bind("<Escape>", lambda _: self._end())

    def say(self, text: str) -> None:
        """Write something beside the game's title."""
        self._root.title(f"{self._title}: {text}")

    def show(self, frame: Frame) -> None:
        """Show a frame.

        Raises:
            WindowClosedError: If the window has been closed.
        """
        from PIL import ImageTk

        height, width, _ = frame.shape
        scale = max(1, _HEIGHT_PX // height)
        image = Image.fromarray(frame).resize((scale * width, scale * height), Image.Resampling.BOX)
        if self._picture is None or self._picture.width() != image.width:
            self._picture = ImageTk.PhotoImage(image, master=self._root)
            self._label.configure(image=self._picture)  # pyright: ignore[reportArgumentType]
        else:
            self._picture.paste(image)
        self.refresh()

    def refresh(self) -> None:
        """Let the window draw and hear its keys.

        Raises:
            WindowClosedError: If it has been closed.
        """
        if not self._is_closed:
            self._root.update()
        if self._is_closed:
            raise WindowClosedError("the window was closed")

    def close(self) -> None:
        """Take it away."""
        # The picture belongs to the window and must go first.
        self._picture = None
        self._root.destroy()

    def _end(self) -> None:
        self._is_closed = True
