"""Tables 1 and 2 of the paper: PatchDrop beside every baseline, in the columns Pt, Ft-1 and Ft-2.

The run of a seed is an ordinary run of `geozoom train`, in a folder of its own, and the baselines' folders lie in it.
The masked baselines buy as many patches as PatchDrop does in the same column and with the same seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from torch import nn

from geozoom.errors import RunError
from geozoom.networks import is_bagnet
from training import STAGES
from training.baselines.lowres import LOWRES
from training.baselines.masked import Column, MaskedBaseline
from training.baselines.reading import lr_correct
from training.comparing.comparison import TableRequest
from training.comparing.ledger import Cell, Entry, Ledger
from training.comparing.notes import notes
from training.comparing.published import PUBLISHED
from training.comparing.results_table import COLUMNS, ROWS, ResultsTable
from training.comparing.runs import check_run, is_where_it_was, open_measured, run_engine, train_run
from training.decomposition import Spending, summed_streams, write_decomposition, write_spend
from training.engine import Engine
from training.evaluate import Row, correct, row, view_split
from training.evaluation import NOISE, OpenedRun
from training.figures import draw_all
from training.log import RunLog
from training.parallel import processes
from training.recalibrate import load_as_shipped
from training.record import read_record
from training.results import POLICIES, Results
from training.run import with_teacher
from training.scout import NAME, wants_scout
from training.stages import Bench

WAYS = {
    "patchdrop-classifier": "classifier asked",
    "patchdrop-scout": "scout asked",
    "patchdrop-rounds": "two rounds",
    "patchdrop-four-rounds": "four rounds",
}
"""Rows that spend what Ft-2 spends in another way, and in which."""
SCOUTED = "patchdrop-scout"
"""The row that a run without a scout does not have."""
_OF_FT2 = ("published-code", *WAYS)
"""Rows that train nothing more than PatchDrop's."""
_BEGUN_WITH = ("hr", "lr", "robust")
"""Stages of the run that a masked baseline begins with."""


def compare_results(request: TableRequest, console: Console) -> ResultsTable:
    """Train what is not trained yet, measure what is not measured, and return all that is known.

    The table is written after every row.

    Raises:
        OutputError: It cannot be written.
        RunError: A run cannot be trained or is of another recipe; a row is not known; or there are several processes.
        DatasetError: The dataset is not as expected.
    """
    if processes() > 1:
        raise RunError("the baselines of table results train in one process: start it without torchrun")
    scouted = wants_scout(request.recipe)
    drawn = not is_bagnet(request.recipe.networks.classifier)
    every = tuple(name for name in ROWS if (scouted or name != SCOUTED) and (drawn or name != "srgan"))
    wanted = every if request.rows is None else request.rows
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        raise RunError(f"row {unknown[0]!r} is not known; choose of {', '.join(ROWS)}")
    if SCOUTED in wanted and not scouted:
        raise RunError(f"row {SCOUTED!r} needs a scout; leave it out, or give --set scout.epochs=60")
    if "srgan" in wanted and not drawn:
        raise RunError("row 'srgan' learns by the features of a ResNet, which a BagNet is not; leave it out")
    ledger = Ledger.open(request.out / "ledger.json")
    strange = [name for _, name in ledger.entries if name not in ROWS]
    if strange:
        raise RunError(
            f"{ledger.file}: has a row {strange[0]!r}, which this geozoom does not know; use a newer one"
        )
    left = {seed: _left(wanted, ledger, seed) for seed in request.seeds}
    _check_measured(request, ledger, left, console)
    _announce(request, wanted, ledger, console)
    for seed, names in left.items():
        if not names:
            continue
        measuring = _Measuring.begin(request, seed, console)
        for name in names:
            console.print(f"seed {seed}: {ROWS[name]}", highlight=False)
            ledger.add(seed, name, measuring.measure(name))
            _table(request, ledger).keep(request.out)  # what is stopped now leaves what is known
    _draw(request, console)
    return _table(request, ledger)


def _left(wanted: Sequence[str], ledger: Ledger, seed: int) -> list[str]:
    """Return the rows of a seed that are not measured; PatchDrop's, whose S others have, is always wanted."""
    return [name for name in dict.fromkeys((*wanted, "patchdrop")) if (seed, name) not in ledger.entries]


def _check_measured(
    request: TableRequest, ledger: Ledger, left: Mapping[int, Sequence[str]], console: Console
) -> None:
    """Refuse to set new rows beside those of other runs than are asked for, of whatever seed.

    Files are looked at where something new is to stand beside what is measured, or the data lies elsewhere.

    Raises:
        RunError: What was measured is of another recipe, dataset or files, or of a run that is gone.
        DatasetError: The dataset is not as expected.
    """
    for seed in sorted({seed for seed, _ in ledger.entries}):
        folder = request.out / f"seed{seed}"
        if not (folder / "config.json").is_file():
            raise RunError(
                f"{folder}: is gone, and {ledger.file} has rows of it; put it back, or delete {ledger.file.name} to "
                "measure all rows again"
            )
        record = check_run(request, folder, request.recipe, seed, console)
        if any(left.values()) or not is_where_it_was(request, record):
            open_measured(request, folder, console)  # which looks at its files


def _table(request: TableRequest, ledger: Ledger) -> ResultsTable:
    """Return the table of what is measured."""
    return ResultsTable(
        title=f"Baselines and PatchDrop on {read_record(request.out / f'seed{request.seeds[0]}')['data']}",
        about=notes(request, ledger),
        entries=ledger.entries,
        published=PUBLISHED.get(request.dataset, {}),
    )


def _draw(request: TableRequest, console: Console) -> None:
    """Tell when and where apart and draw the paper's figures, of the first seed, where that is not done yet."""
    if (request.out / "figures").is_dir():
        return
    seed = request.seeds[0]
    opened = open_measured(request, request.out / f"seed{seed}", console)
    results = opened.results
    val = view_split(opened.scenes.val.to(results.engine.device), opened.recipe, seed=seed + NOISE["val"])
    console.print(f"seed {seed}: when and where, accuracy by spend, figures", highlight=False)
    with results.engine.autocast():
        spending = Spending.of_stage(results, val)
        write_decomposition(list(spending.decompose()), request.out, seed)
        write_spend(spending.accuracy_by_spend(), request.out / "spend.png")
        draw_all(opened, list(results.rows()), (), request.out / "figures")


def _announce(request: TableRequest, wanted: Sequence[str], ledger: Ledger, console: Console) -> None:
    """Say what there is to do, and how long each row took last time."""
    for seed in request.seeds:
        done = [ROWS[name] for name in wanted if (seed, name) in ledger.entries]
        left = []
        for name in wanted:
            if (seed, name) not in ledger.entries:
                lasted = ledger.lasted(name)
                left.append(
                    ROWS[name] + ("" if lasted is None else f" (took {lasted / 60:.0f} min last time)")
                )
        if done:
            console.print(
                f"seed {seed}: measured already: {'; '.join(done)}", highlight=False, soft_wrap=True
            )
        if left:
            console.print(f"seed {seed}: to do: {'; '.join(left)}", highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """A seed's run, trained, and what its rows are measured with."""

    request: TableRequest
    seed: int
    opened: OpenedRun
    bench: Bench
    console: Console
    took_s: float
    """Seconds that training the run took now."""

    @classmethod
    def begin(cls, request: TableRequest, seed: int, console: Console) -> _Measuring:
        """Train the run of a seed where it is not trained, and open it."""
        began = time.perf_counter()
        folder = request.out / f"seed{seed}"
        train_run(request, folder, request.recipe, seed, STAGES, "PatchDrop", console)
        took = time.perf_counter() - began
        opened = open_measured(request, folder, console)
        results = opened.results
        val = opened.scenes.val.to(results.engine.device)
        bench = Bench(
            model=results.model,
            recipe=request.recipe,
            val=view_split(val, request.recipe, seed=seed + NOISE["val"]),
        )
        bench = with_teacher(results.engine, bench)
        return cls(request=request, seed=seed, opened=opened, bench=bench, console=console, took_s=took)

    @property
    def results(self) -> Results:
        """What measures the run."""
        return self.opened.results

    def measure(self, name: str) -> Entry:
        """Train and measure one row."""
        began = time.perf_counter()
        model = self.results.model
        if name in ("lr-cnn", "hr-cnn"):
            streams, sampled = ("lr", 0.0) if name == "lr-cnn" else ("hr", float(model.grid.patches))
            with self.results.engine.autocast():
                self.results.known()
                self.results.engine.load(model, "lr")  # stage lr leaves the HR stream as it was
                measured = row(name, correct(model, self.results.views, streams), sampled)  # type: ignore[arg-type]
            stages: tuple[str, ...] = ("hr", "lr") if name == "lr-cnn" else ("hr",)
            network = model.lr if name == "lr-cnn" else model.hr
            return self._entry(began, dict.fromkeys(COLUMNS, measured), [network], self._seconds(stages))
        if name in LOWRES:
            return self._lowres(name, began)
        if name in _OF_FT2:
            return self._of_ft2(name, began)
        if name == "patchdrop":
            rows = dict(self._patchdrop())
            networks = [model.hr, model.lr, model.policy]
            return self._entry(began - self.took_s, rows, networks, self._seconds(STAGES))
        return self._masked(name, began)

    def _of_ft2(self, name: str, began: float) -> Entry:
        """Measure another way to use what Ft-2 trained."""
        model = self.results.model
        networks: list[nn.Module] = [model.hr, model.lr, model.policy]
        stages: tuple[str, ...] = STAGES
        with self.results.engine.autocast():
            way = WAYS.get(name)
            measured = summed_streams(self.results) if way is None else self.results.spent(way)
        if name == SCOUTED:
            networks, stages = [*networks, *self._scout()], (*STAGES, NAME)
        return self._entry(began, {"ft2": measured}, networks, self._seconds(stages))

    def _scout(self) -> list[nn.Module]:
        finished = self.results.finished
        return [] if finished is None or finished.scout is None else [finished.scout]

    def _patchdrop(self) -> Iterator[tuple[Column, Row]]:
        results = self.results
        with results.engine.autocast():
            known = results.known()
            for column in COLUMNS:
                load_as_shipped(results.engine, results.model, column)
                masks = results.masks()
                right = correct(results.model, results.views, POLICIES[column][1], masks, known)
                yield column, row("PatchDrop", right, masks)

    def _lowres(self, name: str, began: float) -> Entry:
        results, engine = self.results, self._engine(name)
        results.engine.load(results.model, "lr")
        reader = LOWRES[name](engine, self.bench, results.train)
        with engine.autocast():
            measured = row(name, lr_correct(reader, results.views), 0.0)
        seconds = self._seconds(("hr",)) + _logged(engine.folder)
        return self._entry(began, dict.fromkeys(COLUMNS, measured), [reader], seconds)

    def _masked(self, name: str, began: float) -> Entry:
        engine, results = self._engine(name), self.results
        sampled: dict[Column, float] = {column: each.sampled for column, each in self._patchdrop()}
        baseline = MaskedBaseline(
            name=name,
            source=results.engine,
            engine=engine,
            bench=self.bench,
            split=results.train,
            test=results.views,
        )
        with engine.autocast():
            rows = dict(baseline.rows(sampled))
        networks = [results.model.hr, results.model.lr, *([results.model.policy] if name == "stn" else [])]
        return self._entry(began, rows, networks, self._seconds(_BEGUN_WITH) + _logged(engine.folder))

    def _engine(self, name: str) -> Engine:
        folder = self.request.out / f"seed{self.seed}" / "baselines" / name
        folder.mkdir(parents=True, exist_ok=True)
        return replace(run_engine(self.request, folder, self.seed, self.console), sized=name in LOWRES)

    def _entry(
        self, began: float, rows: dict[Column, Row], networks: Sequence[nn.Module], training_s: float
    ) -> Entry:
        return Entry(
            cells={
                column: Cell(accuracy=each.accuracy, sampled=each.sampled, scenes=each.scenes)
                for column, each in rows.items()
            },
            parameters=sum(weight.numel() for network in networks for weight in network.parameters()),
            training_s=training_s,
            took_s=time.perf_counter() - began,
        )

    def _seconds(self, stages: Sequence[str]) -> float:
        folder = self.request.out / f"seed{self.seed}"
        judges = sorted((folder / "judges").glob("*")) if set(stages) & set(POLICIES) else []
        return _logged(folder, stages) + sum(_logged(judge) for judge in judges)


def _logged(folder: Path, stages: Sequence[str] | None = None) -> float:
    """Return the seconds that the log of a folder counts, of all stages or of some."""
    rows = RunLog(folder).rows()
    return float(sum(each["seconds"] for each in rows if stages is None or each["stage"] in stages))
