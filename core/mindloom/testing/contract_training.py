"""The part of the contract that trains: what must be equal, bit for bit, however a run is put together."""

from __future__ import annotations

import copy

from ..errors import TrainingError
from .contract_terms import Terms
from .fresh import fresh, plain
from .pictures import Pictures
from .toy import Toy
from .trial import Trial, arrays_differ, difference, state_differs, state_of


class Training(Terms):
    """Tests that share half a dozen runs."""

    def test_switched_off_it_changes_nothing(self) -> None:
        """Off is absent: after it was imported, ran and closed, a run without it computes what a fresh process does."""
        assert self.runs.whole.fitted.exit_code == 0
        self.runs.made().close()
        looks = self.plugin is Toy or (self.task is Pictures and self.plugin is not Pictures)
        task = "pictures" if looks else "toy"
        off = plain(task, self.runs.folder("off"), blocked=self.called)
        found = arrays_differ(fresh(task), off)
        assert not found, (
            f"with --plugins no:{self.called} a run is not what it is in a process that never imported it ({found}): "
            "change nothing that outlives the plugin, neither when it is imported nor in hooks"
        )

    def test_it_leaves_nothing_behind(self) -> None:
        """A process that trains again, or does something else after it, finds what was there before the run."""
        assert self.runs.whole.fitted.exit_code == 0
        left = self.runs.left
        assert not left, (
            f"a run that it took part in leaves behind: {', '.join(left[:5])}: stop in close what the plugin started, "
            "put back there what it changed, and seed a generator of its own"
        )

    def test_it_can_be_closed_twice(self) -> None:
        """Also when it never ran: closing must work after any failure."""
        ran = self.runs.whole.fitted.plugins[self.called]
        for plugin, which in ((self.runs.made(), "a plugin that never ran"), (ran, "a plugin that ran")):
            for again in ("", " again"):
                try:
                    plugin.close()
                except Exception as error:
                    raise AssertionError(
                        f"closing {which}{again} fails ({error!r}): close only what is open, and forget it then"
                    ) from error

    def test_its_state_survives_a_checkpoint(self) -> None:
        """What ``state_dict`` returns is JSON or arrays, and ``load_state_dict`` takes all of it back."""
        try:
            end = self.runs.whole.end
        except TrainingError as error:
            raise AssertionError(f"{error}: return dicts of JSON values and NumPy arrays of numbers") from error
        state = state_of(end, self.called)
        plugin = self.runs.made()
        if state:
            plugin.load_state_dict(copy.deepcopy(state))
            found = state_differs(state, plugin.state_dict())
            assert not found, f"after load_state_dict {found}: take back there all that state_dict returns"

    def test_stopped_reordered_and_in_large_dispatches_it_ends_the_same(self) -> None:
        """Everything that must not matter, all at once; the three tests below tell apart what this one meets."""
        found = self.runs.together
        assert not found, (
            f"resumed, in reverse order and with {self.stride} steps in a dispatch, {found}: see which of the three "
            "fails by itself; if none does, it is their combination"
        )

    def test_stopped_and_resumed_it_ends_as_in_one_go(self) -> None:
        """Four steps are two and two: losses, weights, the optimizer's state and the plugin's, bit for bit."""
        if not self.runs.together:
            return  # so it is even with everything else changed too
        whole, (first, second) = self.runs.whole, self.runs.halves
        assert sorted([*first.losses, *second.losses]) == sorted(whole.losses), (
            f"stopped after step {self.steps // 2} of {self.steps}, the dispatches end at "
            f"{[*first.losses, *second.losses]} instead of {list(whole.losses)}: let step {self.steps // 2} end one"
        )
        found = self.difference(whole, second)
        assert not found, (
            f"resumed at step {self.steps // 2}, {found}: what must survive belongs into state_dict or into Parameters "
            "of the step, and what is random is drawn from seed and position"
        )
        losses = {step: whole.losses[step] for step in first.losses}
        assert first.losses == losses, (
            f"a run that stops at step {self.steps // 2} has the losses {first.losses} instead of {losses}: before "
            "it ends, nothing may depend on run.last_step"
        )

    def test_several_steps_in_a_dispatch_change_nothing(self) -> None:
        """With a data sink, hooks hear of ``result.n`` steps at once; records come at the ends of dispatches."""
        if not self.runs.together:
            return  # so it is even with everything else changed too
        single, joined = self.runs.whole, self.runs.strides
        advice = "count result.n steps, ask run.due(every, result.n)"
        assert joined.sizes == [self.stride] * (self.steps // self.stride), (
            f"with {self.stride} steps in a dispatch, they have {joined.sizes}: {advice}, and let others end the run"
        )
        found = self.difference(single, joined)
        assert not found, f"with {self.stride} steps in a dispatch, {found}: {advice}"
        assert joined.logged.keys() == single.logged.keys(), (
            f"with {self.stride} steps in a dispatch, records come at {list(joined.logged)} instead of "
            f"{list(single.logged)}: {advice}"
        )

    def test_its_place_among_plugins_does_not_matter(self) -> None:
        """Before or after all others: equal losses and weights."""
        if not self.runs.together:
            return  # so it is even with everything else changed too
        found = self.difference(self.runs.whole, self.runs.reverse)
        assert not found, (
            f"enabled after the others instead of before them, {found}: depend on nobody who was called before; where "
            "it must be so, say it with before = (...) or after = (...)"
        )

    def difference(self, one: Trial, other: Trial) -> str:
        """Where two runs differ, the plugin's volatile numbers aside."""
        return difference(one, other, self.called, self.volatile)
