"""Who holds a place, who waits for one, and who makes way."""

from dataclasses import dataclass, field

from node.door.callers import Peer
from node.door.limits import Limits
from node.door.room import Room

BUSY, NEVER_SPOKE, SPOKE_LONG_AGO = (0.0, True), (1.5, False), (20.0, True)


@dataclass(eq=False)
class Association:
    """An association that is silent for as long as a test says."""

    peer: Peer
    silent_s: float = 0.0
    has_spoken: bool = True
    evicted: list[bool] = field(default_factory=list)

    def evict(self) -> None:
        self.evicted.append(True)


def peer(number: int = 0, is_known: bool = False) -> Peer:
    return Peer(f"10.0.0.{number}", f"AE{number}", is_known)


class House(Room):
    """A room that remembers who made way, and takes in who may come."""

    def __init__(self, places: int, a_peer: int = 100, keeps: bool = False) -> None:
        self.gone: list[Peer] = []
        super().__init__(Limits(associations=places, associations_per_peer=a_peer), keeps, self.gone.append)

    def takes(self, who: Peer, state: tuple[float, bool] = BUSY) -> Association | None:
        if not self.has_place(who):
            return None
        association = Association(who, *state)
        self.enter(association)
        return association


def test_there_are_so_many_places() -> None:
    house = House(3)
    assert [house.takes(peer(number)) is not None for number in range(5)] == [True, True, True, False, False]
    assert len(house) == 3


def test_a_place_that_is_left_is_free() -> None:
    house = House(1)
    first = house.takes(peer(1))
    assert first
    house.leave(first)
    house.leave(first)
    assert house.takes(peer(2))
    assert len(house) == 1


def test_one_peer_cannot_take_all_places() -> None:
    house = House(10, a_peer=4)
    assert [house.takes(peer(1)) is not None for _ in range(6)] == [True] * 4 + [False] * 2
    assert house.takes(peer(2))


def test_titles_that_nobody_knows_share_the_account_of_their_address() -> None:
    house = House(10, a_peer=2)
    invented = [Peer("10.0.0.1", f"X{number}", False) for number in range(3)]
    assert [house.takes(each) is not None for each in invented] == [True, True, False]
    assert house.takes(Peer("10.0.0.1", "PACS", True))


def test_one_place_in_eight_is_kept_for_those_who_are_known() -> None:
    house = House(16, keeps=True)
    assert sum(house.takes(peer(number)) is not None for number in range(20)) == 14
    assert [house.takes(peer(number, is_known=True)) is not None for number in range(3)] == [True, True, False]


def test_nothing_is_kept_where_nobody_is_known() -> None:
    house = House(16)
    assert sum(house.takes(peer(number)) is not None for number in range(20)) == 16


def test_what_is_known_takes_the_other_places_too() -> None:
    house = House(16, keeps=True)
    assert sum(house.takes(peer(number, is_known=True)) is not None for number in range(20)) == 16


def test_an_association_that_never_spoke_makes_way_and_one_that_is_busy_does_not() -> None:
    house = House(2)
    busy, mute = house.takes(peer(1)), house.takes(peer(2), NEVER_SPOKE)
    assert busy and mute
    assert house.takes(peer(3))
    assert (busy.evicted, mute.evicted, house.gone) == ([], [True], [peer(2)])
    assert len(house) == 2
    assert not house.takes(peer(4))


def test_an_association_that_is_new_has_time_to_speak() -> None:
    house = House(1)
    assert house.takes(peer(1), (0.9, False))
    assert not house.takes(peer(2))


def test_an_association_that_spoke_makes_way_when_it_has_been_silent_for_long() -> None:
    house = House(1)
    first = house.takes(peer(1), (14.0, True))
    assert first
    assert not house.takes(peer(2))
    first.silent_s = 16.0
    assert house.takes(peer(2))


def test_the_mute_make_way_before_the_idle_and_the_longest_silent_first() -> None:
    house = House(4)
    states = [(20.0, True), (30.0, True), (2.0, False), (5.0, False)]
    held = [house.takes(peer(number), state) for number, state in enumerate(states)]
    assert all(held)
    for number in range(4):
        assert house.takes(peer(10 + number))
    assert house.gone == [peer(3), peer(2), peer(1), peer(0)]


def test_the_unknown_make_way_before_the_known() -> None:
    house = House(2)
    house.takes(peer(1, is_known=True), (50.0, False))
    house.takes(peer(2), (2.0, False))
    assert house.takes(peer(3, is_known=True))
    assert house.gone == [peer(2)]


def test_a_peer_that_has_all_its_places_pushes_out_its_own_associations_alone() -> None:
    house = House(10, a_peer=1)
    house.takes(peer(1), (50.0, False))
    house.takes(peer(2))
    assert not house.takes(peer(2))
    assert house.gone == []
    assert house.takes(peer(1))
    assert house.gone == [peer(1)]
