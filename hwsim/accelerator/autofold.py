"""Choose the lanes of every op so that frames come at a given interval, with few resizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsim.accelerator.fold import Fold, is_depthwise, is_mac
from hwsim.accelerator.folding import check_folding
from hwsim.accelerator.kinds import kind_of
from hwsim.errors import MappingError
from hwsim.network import INPUT, Add, Flatten, Linear, Network, Op, TensorType

CHANNELS_PER_LANE = 4
"""A resize stage over this many channels counts as one multiplying lane: both need about as many
registers and multiplexers, and equal lanes of neighbours are worth no more."""

MOST_ROUNDS = 100


@dataclass(frozen=True)
class _Site:
    """A place where a number of lanes is chosen: the ``end`` (in, out) of ``op``."""

    op: str
    end: str


@dataclass(frozen=True)
class _Link:
    """Two sites that need a resize stage between them unless they have equal lanes."""

    a: _Site
    b: _Site
    channels: int

    @property
    def cost(self) -> int:
        return -(-self.channels // CHANNELS_PER_LANE)


@dataclass(frozen=True)
class _Work:
    """The work of one op in a frame with one lane on either end."""

    op: Op
    in_channels: int
    out_channels: int
    in_pixels: int
    out_pixels: int

    def interval(self, pe: int, simd: int) -> int:
        """Cycles that a stage with these lanes needs for a frame."""
        beats = -(-self.in_channels // simd)
        groups = -(-self.out_channels // pe) if is_mac(self.op) else 1
        steps = self.out_pixels * groups * beats
        if isinstance(self.op, Linear):
            steps *= self.in_pixels
        return max(steps, self.in_pixels * beats)

    @property
    def fastest(self) -> int:
        return self.interval(self.out_channels, self.in_channels)


def auto_fold(
    network: Network,
    interval_cycles: int,
    weights: str = "memory",
    fixed: Mapping[str, Fold] | None = None,
) -> dict[str, Fold]:
    """Folds with the fewest multiplying lanes for a frame every ``interval_cycles``.

    weights: style of every op with weights. fixed: folds that do not change, and may be slower.
    Neighbours get equal lanes if this costs less than the resize stage that it saves. The result
    leaves out an op without weights if it can work with the lanes of its producer. Equal arguments
    give equal folds. Raises MappingError if the interval is out of reach (the text says the
    smallest possible one), or if a ``fixed`` fold does not fit its op.
    """
    fixed = dict(fixed or {})
    check_folding(network, fixed)
    return _Chooser(network, interval_cycles, weights, fixed).run()


class _Chooser:
    def __init__(
        self, network: Network, interval: int, weights: str, fixed: dict[str, Fold]
    ) -> None:
        self.network, self.interval, self.weights, self.fixed = network, interval, weights, fixed
        self.maps: dict[str, TensorType] = {INPUT: network.input}
        """Shape of each tensor as it was before any Flatten."""
        self.work: dict[str, _Work] = {}
        for op in network:
            x = self.maps[op.inputs[0]]
            same = isinstance(op, Flatten) or kind_of(op).keeps_flat
            y = x if same else network.types[op.name]
            self.maps[op.name] = y
            self.work[op.name] = _Work(
                op, x.channels, y.channels, x.height * x.width, y.height * y.width
            )
        self._check_reach()
        self.lanes: dict[_Site, int] = {}
        self.sites: dict[str, _Site] = {}
        """For each tensor the site that decides its lanes."""
        self.links: list[_Link] = []
        self._connect()

    def _check_reach(self) -> None:
        work = [w for name, w in self.work.items() if name not in self.fixed]
        slowest = max(work, key=lambda w: w.fastest, default=None)
        if slowest is not None and slowest.fastest > self.interval:
            raise MappingError(
                f"a frame every {self.interval} cycles is out of reach: with all lanes it takes "
                f"{slowest.fastest}, the smallest possible interval",
                op=slowest.op.name,
            )

    def _chosen(self, op: Op) -> bool:
        """Whether the lanes of ``op`` are its own, not those of its producer."""
        return is_mac(op) or op.name in self.fixed or self._first(op)

    def _first(self, op: Op) -> bool:
        """Whether ``op`` is the one that decides the lanes of the input."""
        readers = self.network.consumers(INPUT)
        while isinstance(readers[0], Flatten):
            readers = self.network.consumers(readers[0].name)
        return op is readers[0]

    def _connect(self) -> None:
        for op in self.network:
            if isinstance(op, Flatten):
                self.sites[op.name] = self.sites.get(op.inputs[0], _Site(op.name, "in"))
                continue
            into = _Site(op.name, "in")
            if self._first(op):
                self.sites[INPUT] = into
                for name in self._aliases():
                    self.sites[name] = into
            source = self.sites[op.inputs[0]]
            if self._chosen(op):
                if source != into:
                    self.links.append(_Link(source, into, self.maps[op.inputs[0]].channels))
            else:
                into = source
            if isinstance(op, Add) and self.sites[op.inputs[1]] != into:
                self.links.append(
                    _Link(self.sites[op.inputs[1]], into, self.maps[op.name].channels)
                )
            self.sites[op.name] = _Site(op.name, "out") if is_mac(op) else into

    def _aliases(self) -> list[str]:
        """Tensors that are the input under another name."""
        names = {INPUT}
        for op in self.network:
            if isinstance(op, Flatten) and op.inputs[0] in names:
                names.add(op.name)
        return sorted(names)

    def run(self) -> dict[str, Fold]:
        choices = {
            op.name: self._choices(op)
            for op in self.network
            if not isinstance(op, Flatten) and self._chosen(op)
        }
        for name, pairs in choices.items():
            self._set(name, pairs[0])
        for _ in range(MOST_ROUNDS):
            before = dict(self.lanes)
            for name, pairs in choices.items():
                self._set(name, min((self._rank(name, pair), pair) for pair in pairs)[1])
            if self.lanes == before:
                break
        return self._folds()

    def _choices(self, op: Op) -> list[tuple[int, int]]:
        """(pe, simd) that are fast enough, the fewest lanes first, without hopeless ones."""
        if op.name in self.fixed:
            fold = self.fixed[op.name]
            return [(fold.pe, fold.simd)]
        work = self.work[op.name]
        outs = _useful(work.out_channels) if is_mac(op) else [1]
        pairs = [
            (pe, simd)
            for pe in outs
            for simd in _useful(work.in_channels)
            if work.interval(pe, simd) <= self.interval
        ]
        pairs.sort(key=lambda pair: (pair[0] * pair[1], abs(pair[0] - pair[1]), pair))
        most = pairs[0][0] * pairs[0][1] + sum(link.cost for link in self._links_of(op.name))
        return [pair for pair in pairs if pair[0] * pair[1] <= most]

    def _links_of(self, name: str) -> list[_Link]:
        return [link for link in self.links if name in (link.a.op, link.b.op)]

    def _set(self, name: str, pair: tuple[int, int]) -> None:
        self.lanes[_Site(name, "out")], self.lanes[_Site(name, "in")] = pair

    def _rank(self, name: str, pair: tuple[int, int]) -> tuple[int, ...]:
        """What ``pair`` costs at op ``name``, its neighbours being as they are; then tie breaks."""
        kept = self.lanes[_Site(name, "out")], self.lanes[_Site(name, "in")]
        self._set(name, pair)
        cost = pair[0] * pair[1]
        for link in self._links_of(name):
            if self.lanes[link.a] != self.lanes[link.b]:
                cost += link.cost
        self._set(name, kept)
        return cost, pair[0] * pair[1], abs(pair[0] - pair[1]), *pair

    def _folds(self) -> dict[str, Fold]:
        """The chosen folds, and those of ops that are too slow with their producer's lanes."""
        folds: dict[str, Fold] = {}
        lanes = {INPUT: self.lanes[self.sites[INPUT]]}
        for op in self.network:
            given = lanes[op.inputs[0]]
            if isinstance(op, Flatten):
                lanes[op.name] = given
                continue
            work = self.work[op.name]
            pe, simd = 1, given
            if self._chosen(op):
                pe, simd = self.lanes[_Site(op.name, "out")], self.lanes[_Site(op.name, "in")]
            elif work.interval(1, given) > self.interval:
                simd = min(
                    n for n in _useful(work.in_channels) if work.interval(1, n) <= self.interval
                )
            if op.name in self.fixed:
                folds[op.name] = self.fixed[op.name]
            elif self._chosen(op) or simd != given or is_depthwise(op):
                folds[op.name] = Fold(pe, simd, self.weights)
            lanes[op.name] = pe if is_mac(op) else simd
        return folds


def _useful(channels: int) -> list[int]:
    """Numbers of lanes that need fewer beats than any smaller number, ascending."""
    return sorted({-(-channels // beats) for beats in range(1, channels + 1)})
