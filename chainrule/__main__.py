"""python -m chainrule."""

import signal

# Ctrl-C while libraries load ends the process at once, as the shell expects; cli.main takes over from there.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from chainrule.cli import main  # noqa: E402  (after the signal)

main()
