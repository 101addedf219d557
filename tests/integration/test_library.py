"""libpenstock as a user meets it: the README's example in C against a daemon, the header in C++, what the shared library
exports and needs."""
import os, re, shutil, subprocess, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from penstock import BUILD, TMP, Broker

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZED = os.path.basename(os.path.normpath(BUILD)) in ("asan", "tsan", "fuzz")


def compile(compiler, source, output, *flags):
    library = os.path.join(BUILD, "libpenstock.so")
    command = compiler.split() + ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", os.path.join(ROOT, "client/include"),
                                  *flags, source, "-o", output, library, "-Wl,-rpath," + os.path.abspath(BUILD)]
    subprocess.run(command, check=True)
    return output


def the_shared_library_exports_the_header_and_nothing_else():
    symbols = subprocess.run(["nm", "-D", "--defined-only", os.path.join(BUILD, "libpenstock.so")], check=True,
                             capture_output=True, text=True).stdout
    exported = {line.split()[-1] for line in symbols.splitlines()}
    with open(os.path.join(ROOT, "client/include/penstock/penstock.h")) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    promised = set(re.findall(r"PST_PUBLIC[^;(]*?\b(pst_\w+)\(", text))
    assert len(promised) > 40, promised
    assert exported == promised, "only exported: %s, only promised: %s" % (exported - promised, promised - exported)


def the_shared_library_has_its_soname_and_needs_only_libc_and_codecs():
    text = subprocess.run(["readelf", "-d", os.path.join(BUILD, "libpenstock.so")], check=True, capture_output=True,
                          text=True).stdout
    assert re.search(r"SONAME.*\[libpenstock\.so\.\d+\]", text), text
    needed = set(re.findall(r"NEEDED.*\[(\w+)", text))
    assert needed <= {"libc", "ld", "libz", "liblz4", "libzstd", "libsnappy", "libm"}, needed


def the_examples_run():
    broker = Broker("library").start()
    try:
        example = compile(os.environ.get("CC", "cc"), os.path.join(ROOT, "tests/clients/example.c"),
                          os.path.join(TMP, "example"), "-std=c11")
        for offset in range(3):
            out = subprocess.run([example, "127.0.0.1:%d" % broker.port], check=True, capture_output=True, text=True,
                                 timeout=60).stdout
            assert out == "offset %d: hello\n" % offset, out
        broker.stop()
    finally:
        broker.kill()


def the_header_serves_cplusplus():
    compiler = os.environ.get("CXX", "c++")
    if shutil.which(compiler.split()[0]) is None:
        print("no C++ compiler: the header is not tried in C++")
        return
    program = compile(compiler, os.path.join(ROOT, "tests/clients/example.cc"), os.path.join(TMP, "example_cc"),
                      "-std=c++11")
    out = subprocess.run([program], check=True, capture_output=True, text=True, timeout=60).stdout
    assert out.startswith("TIMED_OUT: "), out


if SANITIZED:
    print("the shared library is not used by plain programs in this configuration")
    sys.exit(77)
for test in [the_shared_library_exports_the_header_and_nothing_else,
             the_shared_library_has_its_soname_and_needs_only_libc_and_codecs, the_examples_run,
             the_header_serves_cplusplus]:
    test()
    print("ok", test.__name__)
