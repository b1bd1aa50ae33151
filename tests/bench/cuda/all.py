"""Builds, checks and times on a GPU all that all.ts has written: python3 all.py DIRECTORY [PART..]

Parts run one after the other, each in a process and under a limit of its own, so that one that fails hides no other; what they
print goes to DIRECTORY/logs. The table at the end has a line for every part, and their figures.
"""
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
LIMIT = 600


def run_part(name, command, logs, environment):
    """Whether it passed, its seconds, and its output."""
    print(f"---- {name}", flush=True)
    start = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT, env=environment)
        passed, text = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as expired:
        so_far = expired.stdout or b""
        passed, text = False, (so_far.decode(errors="replace") if isinstance(so_far, bytes) else so_far) + f"\nnot done after {LIMIT} s"
    except OSError as problem:
        passed, text = False, str(problem)
    (logs / f"{name}.log").write_text(text)
    print(text.rstrip()[-4000:], flush=True)
    return passed, time.monotonic() - start, text


def runtime_command(library):
    native = HERE.parents[2] / "runtime-native"
    includes = ["-I", str(native / "include"), "-I", str(native / "ascendc-host" / "include")]
    flags = ["-std=gnu++17", "-fPIC", "-fvisibility=hidden", "-w", "-O2", "-shared"]
    return ["g++", *flags, *includes, *sorted(str(s) for s in (native / "src").glob("*.cpp")), "-ldl", "-o", str(library)]


def gpus():
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    return len([line for line in listed.splitlines() if line.startswith("GPU ")])


def sources_under(directory):
    return {str(path.parent) for path in directory.rglob("*.cu")}


def parts_of(directory):
    """Name, folder it needs, command, and which lines of its output are figures."""
    script = lambda name, *arguments: [sys.executable, str(HERE / name), *map(str, arguments)]
    at = directory.joinpath
    language_model = next((p for p in sorted(at("goldens").glob("*-f32")) if (p / "tokenizer.json").exists()), at("goldens/none"))
    return [
        ("cases", at("cases"), script("check.py", "cases", at("cases")), r"^conformance|^FAIL"),
        ("goldens", at("goldens"), script("check.py", "goldens", at("goldens")), r"^\w[\w-]* (f32|bf16)$|logits|nll|eps|FAIL"),
        ("caches", at("caches"), script("check.py", "goldens", at("caches")), r"^\w[\w-]* (f32|bf16)$|logits|nll|FAIL"),
        ("sampling", language_model, script("check.py", "sampling", language_model), r"agree"),
        ("products", at("products"), script("products.py", at("products")), r"^product |^(square|prefill|dit)-?|WRONG"),
        ("decode", at("decode"), script("bench.py", at("decode")), r"^copy|^decode|^(bf16|i8|i4)-"),
        ("prefill", at("prefill/prefill"), script("bench_prefill.py", at("prefill/prefill")), r"^prefill|^ratio"),
        ("dit", at("dit"), script("bench_dit.py", at("dit/dit-bf16"), at("dit/dit-w8a8")), r"^batch"),
        ("ranks", at("ranks"), script("ranks.py", 2, at("ranks")), r"decode"),
    ]


def main(directory, wanted):
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)
    parts = [part for part in parts_of(directory) if not wanted or part[0] in wanted]
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    rows, figures = [], []

    def record(name, command):
        passed, seconds, text = run_part(name, command, logs, environment)
        rows.append((name, "pass" if passed else "FAIL", f"{seconds:.0f} s"))
        return text

    if "HEW_LIBRARY" not in environment:
        library = directory / "libhew.so"
        record("runtime", runtime_command(library.resolve()))
        environment["HEW_LIBRARY"] = str(library.resolve())
    folders = sorted({folder for _, needs, *_ in parts for folder in sources_under(needs)})
    record("build", [sys.executable, str(HERE / "build.py"), *folders])
    for name, needs, command, keep in parts:
        if not needs.exists():
            rows.append((name, "skip", "it was not written"))
        elif name == "ranks" and gpus() < 2:
            rows.append((name, "skip", "it needs two GPUs"))
        else:
            text = record(name, command)
            figures += [f"  {line.strip()}" for line in text.splitlines() if re.search(keep, line)]
    print("\n" + "\n".join(figures))
    print("\n" + "\n".join(f"{name:10} {result:5} {note}" for name, result, note in rows))
    return all(result != "FAIL" for _, result, _ in rows)


if __name__ == "__main__":
    sys.exit(0 if main(pathlib.Path(sys.argv[1]), sys.argv[2:]) else 1)
