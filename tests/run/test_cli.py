import dataclasses

import jax
import jax.experimental
import pytest

from auxjax import run


@dataclasses.dataclass(frozen=True)
class Rule:
    name: str = "olaux"
    n: int = 5


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a thing."""

    frames: int = 100
    """How many frames to see."""
    rate: float = 0.1
    rule: Rule = Rule()
    resume: bool = False

    def __post_init__(self):
        if self.frames < 1:
            raise ValueError(f"`frames` should be at least 1. Found {self.frames}.")


def test_defaults_and_options():
    assert run.parse(Config, args=[]) == Config()
    words = ["--frames", "7", "--rule.n", "3", "--resume"]
    found = run.parse(Config, description="Trains.", args=words)
    assert found == Config(frames=7, rule=Rule(n=3), resume=True)


def test_an_instance_holds_the_defaults():
    default = Config(frames=9, rule=Rule("gcs"))
    assert run.parse(default, args=["--rate", "1"]) == dataclasses.replace(
        default, rate=1.0
    )


def test_the_command_line_is_the_default(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--frames", "3"])
    assert run.parse(Config) == Config(frames=3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--speed", "3"], "--speed"),
        (["--frames", "many"], "many"),
        (["--frames", "0"], "`frames` should be at least 1. Found 0."),
    ],
)
def test_a_bad_word_ends_with_one_message(capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        run.parse(Config, args=words)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_help(capsys):
    with pytest.raises(SystemExit) as ended:
        run.parse(Config, description="Trains on a task.", args=["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "Trains on a task." in said
    assert "How many frames to see." in said


def test_no_dataclass():
    with pytest.raises(ValueError, match=r"should be a dataclass.*Found dict"):
        run.parse({"frames": 1}, args=[])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (run.RunError("`x` should be writable."), 2),
        (run.NonFiniteLoss(3, "main", float("nan"), None), 1),
        (KeyboardInterrupt(), 130),
        # What JAX makes of a Ctrl-C that a host callback hears.
        (jax.errors.JaxRuntimeError("INTERNAL: ... KeyboardInterrupt: "), 130),
    ],
)
def test_plain_errors(capsys, error, code):
    with pytest.raises(SystemExit) as ended, run.plain_errors():
        raise error
    assert ended.value.code == code
    said = "Stopped." if code == 130 else f"error: {error}"
    assert capsys.readouterr().err == f"{said}\n"
    if code == 130:  # no traceback of what was interrupted
        assert ended.value.__suppress_context__


def test_plain_errors_when_a_host_callback_hears_ctrl_c(capfd, caplog):
    def press(x):
        raise KeyboardInterrupt

    shape = jax.ShapeDtypeStruct((), "float32")
    go = jax.jit(lambda x: jax.experimental.io_callback(press, shape, x))
    with pytest.raises(SystemExit) as ended, run.plain_errors():
        jax.block_until_ready(go(1.0))
    assert ended.value.code == 130
    assert "Traceback" not in capfd.readouterr().err + caplog.text


def test_plain_errors_when_an_import_hears_ctrl_c(capsys):
    """An extension module's import makes an `ImportError` of it."""
    with pytest.raises(SystemExit) as ended, run.plain_errors():
        raise ImportError("initialization failed") from KeyboardInterrupt()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_plain_errors_let_jax_through():
    with pytest.raises(jax.errors.JaxRuntimeError), run.plain_errors():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")


def test_plain_errors_let_others_through():
    with pytest.raises(ValueError, match="a bug"), run.plain_errors():
        raise ValueError("a bug")


@dataclasses.dataclass(frozen=True)
class WithSmoke:
    """A run that can be made small."""

    epochs: int = 50
    train_size: int | None = None
    verbose: bool = True
    out: str = "runs"
    smoke: bool = False


SMALL = {"epochs": 2, "train_size": 64, "verbose": False}


def test_smoke_makes_small():
    small = run.parse(WithSmoke, args=["--smoke", "--out", "here"], smoke=SMALL)
    assert small == WithSmoke(2, 64, verbose=False, out="here", smoke=True)


def test_without_smoke_nothing_is_made_small():
    args = ["--epochs", "3", "--train-size", "9"]
    assert run.parse(WithSmoke, args=args, smoke=SMALL) == WithSmoke(3, 9)


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "7"],
        ["--epochs", "50"],  # its default: said all the same
        ["--epochs=7"],
        ["--train_size", "9"],
        ["--train-size", "9"],
        ["--no-verbose"],
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_option_that_smoke_overrides_is_refused(words, first, capsys):
    words = ["--smoke", *words] if first else [*words, "--smoke"]
    with pytest.raises(SystemExit) as stop:
        run.parse(WithSmoke, args=words, smoke=SMALL)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "should not stand beside `--smoke`" in said
    assert len(said.splitlines()) == 1


def test_check_smoke_reads_the_programs_own_words(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--smoke", "--epochs", "7"])
    with pytest.raises(run.RunError, match="`--epochs` should not stand beside"):
        run.check_smoke(None, ["epochs"])


def test_options_of_a_dataclass_that_smoke_sets_are_refused():
    run.check_smoke(["--smoke", "--ppo-epochs", "7"], ["ppo"])
    with pytest.raises(run.RunError, match="`--ppo` should not stand beside"):
        run.check_smoke(["--smoke", "--ppo.epochs", "7"], ["ppo"])
