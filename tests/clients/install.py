"""Brings the clients onto this machine, below build/clients, from the registries their own tools are set up for.

Every installer raises Skip with a reason when this machine cannot have its client."""
import hashlib, os, shutil, signal, subprocess, sys, threading

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "clients")
INSTALL_SECONDS = 300


class Skip(Exception):
    """This machine cannot run it; the text says why."""


class Failure(Exception):
    """The test has failed; the text says how."""


class Once:
    """A step that several suites share: done by the first, its outcome for all."""

    def __init__(self, step):
        self.step, self.lock, self.done, self.error = step, threading.Lock(), False, None

    def __call__(self, *arguments):
        with self.lock:
            if not self.done:
                try:
                    self.step(*arguments)
                except Skip as error:
                    self.error = error
                self.done = True
        if self.error:
            raise self.error


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip("no %s on this machine" % program)


def command(arguments, log, seconds, cwd=None, environment=None):
    """Runs in a session of its own, which is ended with it; output goes to the end of the file log."""
    with open(log, "ab") as out:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd,
                                   env=dict(os.environ, **(environment or {})), start_new_session=True)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            out.write(b"\nno end after %d s\n" % seconds)
            return -1
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def tail(log, lines=1):
    with open(log, errors="replace") as f:
        return "\n".join([text for text in f.read().splitlines() if text.strip()][-lines:])


def installed(name, sources, steps):
    """Runs the steps (arguments, cwd) once for these sources: a stamp in the cache remembers them."""
    folder = os.path.join(CACHE, name)
    os.makedirs(folder, exist_ok=True)
    digest = hashlib.sha256(sys.version.encode())
    for source in sources:
        with open(os.path.join(HERE, source), "rb") as f:
            digest.update(f.read())
    stamp = os.path.join(folder, "installed")
    if os.path.exists(stamp):
        with open(stamp) as f:
            if f.read() == digest.hexdigest():
                return
    log = os.path.join(CACHE, name + "-install.log")
    open(log, "wb").close()
    for arguments, cwd in steps:
        if command(arguments, log, INSTALL_SECONDS, cwd) != 0:
            raise Skip("%s could not be installed: %s (log: %s)" % (name, tail(log) or arguments[0], log))
    with open(stamp, "w") as f:
        f.write(digest.hexdigest())


def copied(folder, *names):
    for name in names:
        shutil.copy(os.path.join(HERE, folder, name), os.path.join(CACHE, folder, name))


def install_librdkafka():
    compiler = os.environ.get("CC", "cc").split()
    need(compiler[0])
    os.makedirs(CACHE, exist_ok=True)
    log = os.path.join(CACHE, "librdkafka-install.log")
    open(log, "wb").close()
    if command(compiler + ["-E", "-include", "librdkafka/rdkafka.h", "-x", "c", os.devnull, "-o", os.devnull], log, 60):
        raise Skip("no librdkafka/rdkafka.h (Debian: librdkafka-dev)")
    if command(compiler + ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", os.path.join(HERE, "librdkafka.c"),
                           "-o", os.path.join(CACHE, "librdkafka-client"), "-lrdkafka"], log, 60):
        raise Failure("librdkafka.c does not compile: " + tail(log, 20))


def install_python():
    venv = os.path.join(CACHE, "python", "venv")
    requirements = os.path.join(HERE, "python", "requirements.txt")
    installed("python", ["python/requirements.txt"], [
        ([sys.executable, "-m", "venv", "--clear", venv], None),
        ([os.path.join(venv, "bin", "pip"), "install", "--retries", "1", "--only-binary", ":all:", "--no-deps", "-r",
          requirements], None)])


def install_java():
    need("java", "javac", "mvn")
    folder = os.path.join(CACHE, "java")
    libs = os.path.join(folder, "libs")
    installed("java", ["java/pom.xml", "java/RoundTrip.java"], [
        (["rm", "-rf", libs], None),
        (["mvn", "-B", "-q", "-f", os.path.join(HERE, "java", "pom.xml"), "dependency:copy-dependencies",
          "-DoutputDirectory=" + libs], None),
        (["javac", "-cp", libs + "/*", "-d", folder, os.path.join(HERE, "java", "RoundTrip.java")], None)])


def install_go():
    need("go")
    os.environ["GOTOOLCHAIN"] = "local"  # a Go too old for go.mod says so, and fetches no other
    installed("franz-go", ["franz-go/go.mod", "franz-go/go.sum", "franz-go/main.go"], [
        (["go", "build", "-mod=readonly", "-o", os.path.join(CACHE, "franz-go", "client"), "."],
         os.path.join(HERE, "franz-go"))])


def install_node():
    need("node", "npm")
    folder = os.path.join(CACHE, "kafkajs")
    os.makedirs(folder, exist_ok=True)
    copied("kafkajs", "package.json", "package-lock.json")
    installed("kafkajs", ["kafkajs/package-lock.json"], [
        (["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries", "1"], folder)])
    copied("kafkajs", "main.js")  # beside node_modules, where node looks for them


INSTALL = {name: Once(step) for name, step in (("librdkafka", install_librdkafka), ("python", install_python),
                                              ("java", install_java), ("go", install_go), ("node", install_node))}


def java(main, *arguments):
    folder = os.path.join(CACHE, "java")
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m",
            "-Dlog4j2.configurationFile=" + os.path.join(HERE, "java", "log4j2.properties"),
            "-cp", folder + ":" + folder + "/libs/*", main, *arguments]


def librdkafka(*arguments):
    return [os.path.join(CACHE, "librdkafka-client"), *arguments]


def python(script, *arguments):
    return [os.path.join(CACHE, "python", "venv", "bin", "python"), os.path.join(HERE, "python", script), *arguments]
