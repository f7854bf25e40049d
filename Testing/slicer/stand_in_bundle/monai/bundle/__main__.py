"""A real child process that speaks the bundle's protocol and behaves, or misbehaves, as the test asks."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

STAGES = ("reading the study", "running the network", "explaining", "writing results")


def main() -> int:
    settings = {key.removeprefix("--"): value for key, value in zip(sys.argv[2::2], sys.argv[3::2], strict=True)}
    return BEHAVIOURS[settings.get("behaviour", "evaluate")](settings)


def progress(done: int) -> None:
    sys.stdout.write(f"PROGRESS {done}/{len(STAGES)} {STAGES[done - 1]}\n")
    sys.stdout.flush()


def log(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def evaluate(settings: dict[str, str]) -> int:
    for done in range(1, len(STAGES) + 1):
        progress(done)
        log(f"INFO {STAGES[done - 1]}: {settings['dataset_dir']}")
    result = Path(settings["output_dir"]) / "study 1"
    result.mkdir()
    seen = {"settings": settings, "environment": dict(os.environ), "folder": str(Path.cwd()), "process": os.getpid()}
    (result / "result.json").write_text(json.dumps(seen), encoding="utf-8")
    return 0


def refuse(settings: dict[str, str]) -> int:
    evaluate(settings)
    log("WARNING study 2: not evaluable: 7 slices, at least 12 needed")
    return 3


def hang(settings: dict[str, str]) -> int:
    for done in range(1, int(settings["stage"]) + 1):
        progress(done)
    time.sleep(600)
    return 0


def hang_in_a_worker(settings: dict[str, str]) -> int:
    """Hang over a half-written result where one process reads many studies; evaluate in a process of its own."""
    if "scripts.resident_worker" not in sys.orig_argv:
        return evaluate(settings)
    (Path(settings["output_dir"]) / ".0a1b.partial").mkdir()
    return hang({"stage": "1"})


def hang_with_family(settings: dict[str, str]) -> int:
    """Start a child, one that ignores SIGTERM, and one that left session and parent behind; hang when all are there."""
    ready, report = os.pipe()
    sleep = f"import os, time; os.write({report}, b'.'); time.sleep(600)"
    ignore = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {sleep}"
    escape = f"import os, sys; os.fork() and sys.exit(); os.setsid(); os.fork() and sys.exit(); {ignore}"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for program in (sleep, ignore, escape):
        subprocess.Popen([sys.executable, "-c", program], pass_fds=(report,))
    for _child in range(3):
        os.read(ready, 1)
    return hang({"stage": "2"})


def leave_a_child(settings: dict[str, str]) -> int:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    return evaluate(settings)


def talk_garbage(settings: dict[str, str]) -> int:
    for stream in (sys.stdout.buffer, sys.stderr.buffer):
        stream.write(bytes(range(256)) * 40 + b"\n\x00\xff\xfe\n")
        stream.write(b"x" * 3_000_000 + b"\n")
        stream.write(b"\x1b[31mred\x1b[0m\n10%\r20%\r30%\r\n")
        stream.flush()
    for line in ("PROGRESS", "PROGRESS 1/0 nothing", "PROGRESS 9/4 too far", "PROGRESS a/b c", "PROGRESS -1/4 x"):
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"PROGRESS {'9' * 400}/{'9' * 400} huge\n")
    sys.stdout.flush()
    return evaluate(settings)


def talk_without_end(settings: dict[str, str]) -> int:
    for number in range(150_000):
        sys.stderr.write(f"line {number} {'of a flood' * 6}\n")
    log("the last line")
    return 0


def fill_the_disk(settings: dict[str, str]) -> int:
    if settings["limit"] == "file size":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    progress(4)
    try:
        with (Path(settings["output_dir"]) / "attention.nii.gz").open("wb", buffering=0) as file:
            for _ in range(200):
                file.write(b"\0" * 10_000)
    except OSError as error:
        log(f"ERROR cannot write attention.nii.gz: {error}")
        return 1
    return 0


def fail(settings: dict[str, str]) -> int:
    log("INFO starting")
    log(settings["message"])
    return 1


def crash(settings: dict[str, str]) -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), int(settings["signal"]))
    return 0


BEHAVIOURS = {
    function.__name__: function
    for function in (
        evaluate,
        refuse,
        hang,
        hang_in_a_worker,
        hang_with_family,
        leave_a_child,
        talk_garbage,
        talk_without_end,
        fill_the_disk,
        fail,
        crash,
    )
}

if __name__ == "__main__":
    sys.exit(main())
