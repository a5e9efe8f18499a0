"""Warm kernels show what ordinary kernels show: a corpus of notebooks, compared cell by cell."""

import re
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbclient import NotebookClient

from nbship.kernels import forkserver
from nbship.kernels.provisioner import KERNEL_NAME, PromptKernelManager

pytestmark = pytest.mark.skipif(not hasattr(forkserver.os, "fork"), reason="warm kernels need fork")

PRELOAD = [
    "numpy",
    "pandas",
    "matplotlib.pyplot",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "no_such_module",
]

CORPUS = {
    "outputs": [
        "1 + 1",
        "print('to stdout')",
        "import sys; print('to stderr', file=sys.stderr)",
        "_ + 1, Out[1], In[1]",
        "from IPython.display import HTML, JSON, Latex, Markdown, clear_output, display, update_display",
        "display(HTML('<b>bold</b>'), Markdown('**bold**'), JSON({'a': 1}), Latex('$x$'))",
        "display({'text/plain': 'plain', 'application/x-custom': 'custom'}, raw=True)",
        "handle = display('before', display_id='shown'); update_display('after', display_id='shown')",
        "handle.update('later')",
        "print('gone'); clear_output(); print('kept')",
        "class Rich:\n    def _repr_html_(self):\n        return '<i>rich</i>'\nRich()",
        "import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', None]})",
        "pd.Series([1.5, 2.5]).describe()",
        "import numpy as np\nnp.arange(12).reshape(3, 4) / 7",
        "for i in range(3):\n    print(i, end=' ', flush=True)",
        "None",
        "from comm import create_comm",
        "slider = create_comm(target_name='jupyter.widget', comm_id='c0ffee', data={'state': {"
        "'_model_name': 'IntSliderModel', '_model_module': '@jupyter-widgets/controls', 'value': 1}})",
        "slider.send({'method': 'update', 'state': {'value': 5}})",
        "display({'application/vnd.jupyter.widget-view+json': {'model_id': 'c0ffee'}}, raw=True)",
        "slider.close()",
    ],
    "magics": [
        "%%time\nsum(range(10))",
        "!echo from the shell; exit 3",
        "_exit_code",
        "lines = !printf 'a\\nb'\nlines",
        "%%bash\necho in bash $((1 + 1))",
        "%%bash\nexit 5",
        "%%writefile module_here.py\nvalue = 'imported from the working directory'",
        "import module_here; module_here.value",
        "%run module_here.py\nvalue",
        "%%capture captured\nprint('captured')",
        "captured.stdout",
        "%env NBSHIP_TEST=1",
        "%load_ext autoreload\n%autoreload 2",
        "%who_ls str",
        "%%html\n<p>html</p>",
        "%precision 2\n3.14159",
        "get_ipython().run_line_magic('lsmagic', '') and None",
        "%no_such_magic",
        "import os; len?",
    ],
    "errors": [
        "def inner(x):\n    return 1 / x\ndef outer(x):\n    return inner(x)\nouter(0)",
        "this is no python",
        "try:\n    {}['key']\nexcept KeyError as error:\n    raise ValueError('chained') from error",
        "import pandas as pd\npd.DataFrame({'a': [1]})['b']",
        "import numpy as np\nnp.linalg.inv(np.zeros((2, 2)))",
        "import warnings; warnings.warn('careful')",
        "warnings.warn('old', DeprecationWarning)",
        "np.array([1.0]) / 0",
        "input('refused? ')",
        "import getpass; getpass.getpass()",
        "raise KeyboardInterrupt",
        "import sys; sys.exit(2)",
        "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
        "import no_such_module",
        "%tb",
        "'the kernel still answers'",
    ],
    "processes and streams": [
        "import asyncio\nawait asyncio.sleep(0.01, 'awaited')",
        "async def numbers():\n    for i in range(3):\n        await asyncio.sleep(0)\n        yield i",
        "[n async for n in numbers()]",
        "await asyncio.gather(*(asyncio.sleep(0.01, i) for i in range(3)))",
        "asyncio.get_running_loop().__class__",
        "asyncio.run(asyncio.sleep(0))",
        "import threading\nt = threading.Thread(target=print, args=('from a thread',)); t.start(); t.join()",
        "import os, time\nos.write(1, b'to descriptor 1\\n'); time.sleep(0.2)",
        "import ctypes\nlibc = ctypes.CDLL(None); libc.puts(b'from C'); libc.fflush(None); time.sleep(0.2)",
        "import subprocess\nsubprocess.run(['echo', 'child'], check=True); time.sleep(0.2)",
        "os.system('echo system'); time.sleep(0.2)",
        "subprocess.run(['cat'], capture_output=True, text=True).stdout",
        "import sys; sys.stdin.read()",
        "from multiprocessing import Pool\nwith Pool(2) as pool:\n    squares = pool.map(abs, [-1])\nsquares",
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(1) as pool:\n    result = pool.submit(pow, 2, 3).result()\nresult",
        "if os.fork() == 0:\n    print('forked', flush=True); os._exit(0)\n_ = os.wait(); time.sleep(0.2)",
        "import logging; logging.warning('root'); logging.getLogger('sklearn').warning('library')",
        "logging.getLogger().handlers, logging.getLogger('sklearn').handlers",
    ],
    "surroundings": [
        "import asyncio, faulthandler, gc, locale, os, random, resource, signal, stat, sys, threading",
        "import time, warnings",
        "__name__, globals().get('__file__'), sys.modules['__main__'].__dict__ is globals(), __spec__",
        "[a.rpartition('/')[2] for a in sys.argv], [a.rpartition('/')[2] for a in sys.orig_argv]",
        "os.getcwd(), sys.path, sys.executable, sys.prefix, sys.flags, sys.warnoptions",
        "os.environ['JPY_PARENT_PID'] == str(os.getppid())",
        "[(s, signal.getsignal(s)) for s in sorted(signal.valid_signals())]",
        "signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1) == -1",
        "os.getsid(0) == os.getpgid(0) == os.getpid()",
        "kinds = []",
        "for descriptor in range(200):\n"
        "    try:\n        kinds.append(stat.filemode(os.fstat(descriptor).st_mode)[0])\n"
        "    except OSError:\n        pass",
        "[kinds.count(kind) for kind in 'spc-']",
        "sorted(thread.name for thread in threading.enumerate())",
        "gc.isenabled(), gc.get_threshold(), sys.getrecursionlimit(), sys.gettrace()",
        "locale.getlocale(), time.tzname, sys.getfilesystemencoding(), sys.stdout.encoding",
        "[stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)]",
        "{n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT_')}",
        "[m for m in sys.modules if m.partition('.')[0] == 'nbship'], faulthandler.is_enabled()",
        "ip = get_ipython(); type(ip), ip.config, type(ip.kernel), sorted(ip.user_ns)",
        "type(asyncio.get_event_loop_policy()), sys.displayhook, sys.excepthook",
        "import numpy, pandas, sklearn.pipeline, sklearn.linear_model, matplotlib.pyplot as plt",
        # By NBSHIP_KERNEL, what a warm kernel leaves running is known as its own.
        "sorted((k, v) for k, v in os.environ.items() if k not in ('JPY_PARENT_PID', 'NBSHIP_KERNEL'))",
        "numpy.geterr(), numpy.get_printoptions(), numpy.random.get_state()[0]",
        "{k: pandas.get_option(k) for k in ('display.max_rows', 'display.width', 'mode.copy_on_write')}",
        "dict(plt.rcParams), plt.get_backend(), plt.isinteractive(), plt.get_fignums()",
        "sorted({(f[0], str(f[1]), f[2].__name__, str(f[3])) for f in warnings.filters})",
        "random.random() != random.random(), hash('a') == hash('a')",
    ],
    "plots": [
        "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])",
        "fig, ax = plt.subplots(); ax.bar(['a', 'b'], [1, 2]); plt.show()",
        "fig",
        "plt.figure(); plt.figure();",
        "%matplotlib inline\nplt.hist([1, 1, 2]);",
        "%config InlineBackend.figure_format = 'retina'\nplt.plot([3, 1]);",
        "%matplotlib agg\nplt.plot([1, 2]); plt.get_backend()",
    ],
    "learning": [
        "import numpy as np, pandas as pd\nfrom sklearn.linear_model import Ridge\n"
        "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler",
        "x = np.random.default_rng(0).normal(size=(500, 3)); y = x @ [1, 2, 3]",
        "model = make_pipeline(StandardScaler(), Ridge()).fit(x, y); model",
        "model.predict(x[:3]), x.T @ x",
        "from sklearn.linear_model import LogisticRegression\n"
        "LogisticRegression(max_iter=1).fit([[0.0], [1.0], [2.0]], [0, 1, 1]).n_iter_",
        "from joblib import Parallel, delayed",
        "Parallel(n_jobs=2, prefer='threads')(delayed(abs)(-i) for i in range(3))",
    ],
}

NOISE = [
    (re.compile(r"/[\w/.-]*/here\b"), "FOLDER"),
    (re.compile(r"\b0x[0-9a-f]{6,}"), "ADDRESS"),
    (re.compile(r"ipykernel_\d+"), "ipykernel_PID"),
    (re.compile(r"pid=\d+"), "pid=PID"),
    (re.compile(r"[\w/.-]*/(tmp\w+|kernel[\w-]*)\.json|\b(tmp\w+|kernel-[\w-]+)\.json"), "CONNECTION"),
    (re.compile(r"(CPU times|Wall time): .*"), r"\1"),
    (re.compile(r"(?<=Thread-)\d+"), "N"),
]


def run(cells: list[str], kernel: str, folder: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(
        notebook,
        kernel_name=kernel,
        kernel_manager_class=PromptKernelManager,
        allow_errors=True,
        timeout=60,
        resources={"metadata": {"path": folder}},
    ).execute()
    return notebook


def shown(cell: nbformat.NotebookNode) -> list[object]:
    """What a cell shows, without noise; streams are joined by name, for their order is a matter of luck."""
    streams: dict[str, str] = {}
    others: list[object] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + quiet(output.text)
        else:
            others.append({key: quiet(value) for key, value in output.items()})
    return [cell.execution_count, streams, *others]


def quiet(value: object) -> object:
    if isinstance(value, dict):
        return {key: quiet(item) for key, item in value.items()}
    if isinstance(value, list):
        return [quiet(item) for item in value]
    if not isinstance(value, str) or len(value) > 1_000_000:
        return value
    for pattern, replacement in NOISE:
        value = pattern.sub(replacement, value)
    return value


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Both runs of every notebook: by an ordinary kernel and by a warm one."""
    forkserver.start(PRELOAD)
    folders = {kernel: tmp_path_factory.mktemp(kernel) for kernel in ("python3", KERNEL_NAME)}
    for folder in folders.values():
        (folder / "here").mkdir()
    with ThreadPoolExecutor(2) as threads:
        runs = {
            (name, kernel): threads.submit(run, cells, kernel, str(folder / "here"))
            for name, cells in CORPUS.items()
            for kernel, folder in folders.items()
        }
        yield {key: future.result() for key, future in runs.items()}
    forkserver.stop()


@pytest.mark.parametrize("name", CORPUS)
def test_every_cell_shows_the_same(executed, name):
    ordinary, warm = executed[name, "python3"], executed[name, KERNEL_NAME]
    for left, right in zip(ordinary.cells, warm.cells, strict=True):
        assert shown(right) == shown(left), left.source
    assert warm.metadata == ordinary.metadata


def test_the_corpus_shows_something(executed):
    cells = [cell for notebook in executed.values() for cell in notebook.cells]
    assert sum(bool(cell.outputs) for cell in cells) > 0.7 * len(cells)
    kinds = {mime for cell in cells for output in cell.outputs for mime in output.get("data", {})}
    assert {"image/png", "text/html", "text/plain", "application/x-custom"} <= kinds
