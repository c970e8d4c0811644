"""What one caller is shown of the store: exactly what they may read, page by page, at a bounded price."""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Sequence
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.core.caller import ANONYMOUS, Caller
from stagedoor.core.drivers import run
from stagedoor.core.listing import MAX_QUESTIONS, MAX_SECONDS, visible
from stagedoor.core.messages import Answered, Item, List, Listed, Wish
from stagedoor.core.policy.decide import Allow, Policy, compile_rules
from stagedoor.core.policy.reach import Reach
from stagedoor.store.names import is_usable, resume_after
from tests.helpers.counting import lines_run
from tests.helpers.support import Rules, caller

ANN = caller(groups=["students", "choir"])


class Names:
    """A store of names alone, no kinder than S3. `asked` holds every question; no answer is longer than `page`.

    A folder in which `after` lies is not named again, names that no request can ask for take their place on a page and
    are left out, and where they are all that there is, the page is empty and has a next one.
    """

    def __init__(self, keys: Sequence[str], page: int = 1000, clock: Clock | None = None) -> None:
        self.keys, self.page, self.clock = sorted({key.encode() for key in keys}), page, clock
        self.asked: list[List] = []

    def __call__(self, wish: Wish) -> Answered:
        assert isinstance(wish, List)
        assert 1 <= wish.limit <= 1000
        self.asked.append(wish)
        if self.clock is not None:
            self.clock.now += 0.4
        limit = min(wish.limit, self.page)
        prefix, after = wish.prefix.encode(), wish.after.encode()
        entries: list[str] = []
        for raw in islice(self.keys, max(bisect_left(self.keys, prefix), bisect(self.keys, after)), None):
            if len(entries) > limit or not raw.startswith(prefix):
                break
            key = raw.decode()
            name, slash, _ = key[len(wish.prefix) :].partition("/")
            entry = f"{wish.prefix}{name}/" if wish.folders and slash else key
            if entry.encode() > after and entries[-1:] != [entry]:
                entries.append(entry)
        is_folder = [wish.folders and "/" in entry[len(wish.prefix) :] for entry in entries]
        found = [
            entry if folder else Item(entry, '"e"', 0.0, 1)
            for entry, folder in zip(entries[:limit], is_folder, strict=False)
            if is_usable(entry)
        ]
        if len(entries) <= limit:
            return Listed(tuple(found))
        return Listed(tuple(found), resume_after(found[-1] if found else Item(entries[limit - 1], "", 0.0, 1)))


class Clock:
    """Every look at it takes a while."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def pages(policy: Policy, who: Caller, store: Names, wish: List, index: str | None = None) -> list[Listed]:
    """All pages of a listing, each asked for with where the one before ended."""
    found: list[Listed] = []
    while len(found) < 2000:
        listed = run(visible(Reach(policy), who, wish, index), store)
        found.append(listed)
        if listed.resume is None:
            return found
        assert listed.resume > wish.after, "the listing does not get on"
        wish = wish._replace(after=listed.resume)
    raise AssertionError("the listing has no end")


def names(found: Sequence[Listed]) -> list[str]:
    return [one if isinstance(one, str) else one.key for listed in found for one in listed.found]


def expected(policy: Policy, who: Caller, keys: Sequence[str], prefix: str, folders: bool) -> list[str]:
    """The same by asking about every key."""
    shown = []
    for key in sorted(set(keys)):
        if key.startswith(prefix) and isinstance(policy.decide(who, key), Allow):
            name, slash, _ = key[len(prefix) :].partition("/")
            shown.append(f"{prefix}{name}/" if folders and slash else key)
    return list(dict.fromkeys(shown))


RULES: Rules = (
    {"path": "public/**", "allow": "anyone"},
    {"path": "users/{sub}/**", "allow": "signed-in"},
    {"path": "groups/{groups}/**", "allow": "signed-in"},
    {"path": "shared/*/open/**", "allow": "signed-in"},
    {"path": "courses/lesson-*/**", "allow": {"groups": ["students"]}},
    {"path": "**/*.png", "allow": {"groups": ["staff"]}},
    {"path": "public/secret/**", "deny": "anyone"},
    {"path": "users/*/private/*", "deny": "anyone"},
    {"path": "courses/lesson-*/a/open/**", "allow": "anyone"},
    {"path": "groups/a", "allow": "anyone"},
    {"path": "users/a/open", "allow": "anyone"},
)
SEGMENTS = ("a", "a-b", "a0", "ann", "choir", "courses", "groups", "lesson-1", "open", "private", "public", "secret")
KEYS = st.lists(st.sampled_from((*SEGMENTS, "shared", "users", "x.png", "ü")), min_size=2, max_size=5).map("/".join)


@settings(max_examples=4 * settings().max_examples, deadline=None)
@given(
    keys=st.lists(KEYS, max_size=40),
    prefix=st.sampled_from(("", "users/", "users/a", "shared/", "public/", "groups/choir/", "c", "courses/less")),
    folders=st.booleans(),
    limit=st.integers(1, 7),
    who=st.sampled_from((ANN, ANONYMOUS, caller(sub="choir", groups=["staff"]), caller(sub="ü"))),
    page=st.sampled_from((1, 2, 1000)),
)
def test_a_listing_shows_what_may_be_read_and_nothing_else(
    keys: list[str], prefix: str, folders: bool, limit: int, who: Caller, page: int
) -> None:
    policy = compile_rules(RULES)
    found = pages(policy, who, Names(keys, page), List(prefix, "", limit, folders))
    assert names(found) == expected(policy, who, keys, prefix, folders)
    assert all(len(listed.found) <= limit for listed in found)


def test_a_full_page_ends_with_what_is_shown_so_that_the_next_begins_there() -> None:
    policy = compile_rules(RULES)
    store = Names([f"public/{number:03}" for number in range(10)])
    first = run(visible(Reach(policy), ANN, List("", "", 4)), store)
    assert first.resume == "public/003"
    exact = run(visible(Reach(policy), ANN, List("", "public/005", 4)), store)
    assert exact.resume is None, "nothing comes after these, and a reader is told so"


def test_what_belongs_to_others_is_not_walked_through() -> None:
    keys = [f"users/u{number:05}/photo" for number in range(20_000)] + ["users/ann/photo"]
    store = Names(keys)
    found = run(visible(Reach(compile_rules(RULES)), ANN, List("", "", 1000)), store)
    assert names([found]) == ["users/ann/photo"]
    assert [wish.prefix for wish in store.asked if wish.limit > 1] == [
        "courses/lesson-",
        "groups/a",
        "groups/choir/",
        "groups/students/",
        "public/",
        "shared/",
        "users/a/open",
        "users/ann/",
    ]


@pytest.mark.parametrize("folders", [False, True])
def test_an_object_with_the_name_of_a_folder_is_shown_as_well(folders: bool) -> None:
    """`users/{sub}/**` matches `users/ann`, too."""
    keys = ["users/ann", "users/ann-b/1", "users/ann.txt", "users/ann/a", "users/ben", "users/ben/1"]
    policy = compile_rules([{"path": "users/{sub}/**", "allow": "signed-in"}])
    for prefix in ("", "users/", "users/a", "users/ann"):
        found = names(pages(policy, ANN, Names(keys), List(prefix, "", 1, folders=folders)))
        inside = "users/ann/" if folders else "users/ann/a"
        assert found == (["users/"] if folders and not prefix else ["users/ann", inside])
    alone = Names(["users/ann", "users/ben"])
    assert names(pages(policy, ANN, alone, List("", "", 1, folders=True))) == ["users/"]


def test_a_folder_that_hides_everything_is_jumped_over() -> None:
    keys = [f"public/secret/{number:05}" for number in range(30_000)] + ["public/a", "public/z"]
    store = Names(keys)
    found = run(visible(Reach(compile_rules(RULES)), ANONYMOUS, List("", "", 1000)), store)
    assert names([found]) == ["public/a", "public/z"]
    assert len([wish for wish in store.asked if wish.prefix == "public/"]) <= 3


def test_the_price_of_a_page_is_bounded_and_the_next_goes_on() -> None:
    keys = [f"mixed/{number:06}.txt" for number in range(60_000)] + ["mixed/zzz.png"]
    policy, staff, store = compile_rules(RULES), caller(groups=["staff"]), Names(keys)
    first = run(visible(Reach(policy), staff, List("", "", 10)), store)
    assert first.found == ()
    assert first.resume is not None
    assert len(store.asked) == MAX_QUESTIONS
    assert names(pages(policy, staff, store, List("", "", 10))) == ["mixed/zzz.png"]


def test_a_folder_is_shown_only_if_something_in_it_is() -> None:
    keys = ["users/ann/a", "users/ben/b", "shared/x/closed/1", "shared/y/open/1", "public/secret/s"]
    policy = compile_rules(RULES)
    assert names(pages(policy, ANN, Names(keys), List("users/", "", 10, folders=True))) == ["users/ann/"]
    assert names(pages(policy, ANN, Names(keys), List("shared/", "", 10, folders=True))) == ["shared/y/"]
    assert names(pages(policy, ANONYMOUS, Names(keys), List("", "", 10, folders=True))) == []


def test_a_search_for_something_to_show_in_a_folder_goes_on_where_it_ended() -> None:
    keys = [f"shared/big/closed{number:06}/x" for number in range(60_000)] + ["shared/big/open/x", "shared/c/open/x"]
    policy, store = compile_rules(RULES), Names(keys)
    found = pages(policy, ANN, store, List("shared/", "", 10, folders=True))
    assert names(found) == ["shared/big/", "shared/c/"]
    assert len(found) > 1, "one page would have asked too often"


@pytest.mark.parametrize("prefix", ["courses/", "courses/lesson-", "courses/less"])
def test_a_page_that_ends_inside_a_folder_goes_on_in_it(prefix: str) -> None:
    """The folder's name is not in the rules: `courses/lesson-*` leads to it."""
    hidden = [f"courses/lesson-1/a/{number:06}/x" for number in range(6000)]
    keys = [*hidden, "courses/lesson-1/a/open/x", "courses/lesson-2/a/open/x", "courses/plan"]
    policy, store = compile_rules(RULES), Names(keys, 100)
    found = pages(policy, ANONYMOUS, store, List(prefix, "", 10, folders=True))
    assert names(found) == ["courses/lesson-1/", "courses/lesson-2/"]
    assert len(found) > 1, "one page would have asked too often"


def test_a_rule_for_one_key_shows_that_key_alone() -> None:
    keys = ["groups/a", "groups/a/b", "groups/a-b", "groups/a0", "groups/b", "groups", "group"]
    policy = compile_rules(RULES)
    for prefix in ("", "g", "groups/", "groups/a"):
        assert names(pages(policy, ANONYMOUS, Names(keys), List(prefix, "", 10))) == ["groups/a"]
        shown = names(pages(policy, ANONYMOUS, Names(keys), List(prefix, "", 10, folders=True)))
        assert shown == (["groups/"] if "/" not in prefix else ["groups/a"])
    for prefix in ("groups/a/", "groups/a-", "groups/b"):
        for folders in (False, True):
            assert names(pages(policy, ANONYMOUS, Names(keys), List(prefix, "", 10, folders))) == []
    assert names(pages(policy, ANONYMOUS, Names(["groups/a/b"]), List("", "", 10, folders=True))) == []


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("page", [1, 3, 1000])
def test_names_that_nobody_can_ask_for_are_passed_over_however_many_there_are(folders: bool, page: int) -> None:
    odd = [f"public/{place}{number:02}\\" for place in "akz" for number in range(30)]
    odd += [f"public/c{number:02}/../x" for number in range(30)]
    keys = [*odd, "public/b", "public/k", "public/y/1"]
    expected_names = ["public/b", "public/k", "public/y/" if folders else "public/y/1"]
    for limit in (1, 2, 10):
        found = pages(compile_rules(RULES), ANONYMOUS, Names(keys, page), List("public/", "", limit, folders))
        assert [name for name in names(found) if not name.startswith("public/c")] == expected_names


def test_folders_that_may_be_read_as_a_whole_cost_one_question() -> None:
    keys = [f"public/f{number:03}/{name}" for number in range(500) for name in ("a", "b")]
    store = Names(keys)
    found = run(
        visible(Reach(compile_rules(({"path": "**", "allow": "anyone"},))), ANONYMOUS, List("public/", "", 1000, True)),
        store,
    )
    assert len(found.found) == 500
    assert len(store.asked) == 1


def test_names_that_an_index_hides_are_not_shown() -> None:
    keys = ["public/docs/", "public/docs/index.html"]
    policy = compile_rules(RULES)
    assert names(pages(policy, ANN, Names(keys), List("public/docs/", "", 10), "index.html")) == [
        "public/docs/index.html"
    ]
    assert names(pages(policy, ANN, Names(keys), List("public/docs/", "", 10))) == keys


@pytest.mark.parametrize(
    ("folder", "reach"),
    [
        ("public/", "some"),
        ("public/x/", "all"),
        ("public/secret/", "none"),
        ("users/", "some"),
        ("users/ann/", "some"),
        ("users/ann/photos/", "all"),
        ("users/ann/private/", "some"),
        ("users/ben/", "none"),
        ("groups/choir/", "all"),
        ("groups/band/", "none"),
        ("shared/x/", "some"),
        ("shared/x/open/", "all"),
        ("courses/", "some"),
        ("courses/lesson-1/", "all"),
        ("other/", "none"),
        ("", "some"),
    ],
)
def test_how_much_of_a_folder_may_be_read(folder: str, reach: str) -> None:
    assert Reach(compile_rules(RULES)).below(ANN, folder) == reach


def test_a_page_takes_no_longer_than_others_can_wait_and_gets_on_all_the_same() -> None:
    keys = [f"mixed/{number:04}.txt" for number in range(300)] + ["mixed/zzz.png"]
    policy, staff, store = compile_rules(RULES), caller(groups=["staff"]), Names(keys)
    slow = Clock(MAX_SECONDS / 10)
    wish, pages_seen, found = List("mixed/", "", 10), 0, list[str]()
    while True:
        listed = run(visible(Reach(policy), staff, wish, None, slow), store)
        pages_seen += 1
        found += names([listed])
        if listed.resume is None:
            break
        assert listed.resume > wish.after
        wish = wish._replace(after=listed.resume)
    assert found == ["mixed/zzz.png"]
    assert 20 < pages_seen < 60, "about nine names a page"


def test_a_page_asks_a_slow_store_no_longer_than_a_reader_waits() -> None:
    """Where nothing of many names may be seen, and the store takes seconds for each answer."""
    keys = [f"mixed/{number:05}.txt" for number in range(20_000)] + ["mixed/zzzzz.png"]
    now, asked = [0.0], [0]
    store = Names(keys)

    def ask(wish: Wish) -> Answered:
        now[0] += 2
        asked[0] += 1
        return store(wish)

    policy, staff = compile_rules(RULES), caller(groups=["staff"])
    page = run(visible(Reach(policy), staff, List("mixed/", "", 10), None, lambda: now[0]), ask)
    assert asked == [3], "after six of five seconds"
    assert page.resume is not None
    while page.resume is not None:
        page = run(visible(Reach(policy), staff, List("mixed/", page.resume, 10), None, lambda: now[0]), ask)
    assert names([page]) == ["mixed/zzzzz.png"]


def test_the_time_for_decisions_is_not_that_of_the_store() -> None:
    keys = [f"mixed/{number:04}.png" for number in range(100)]
    policy, staff = compile_rules(RULES), caller(groups=["staff"])
    clock = Clock(MAX_SECONDS / 1000)
    store = Names(keys, 10, clock)  # eight times that long for each answer
    found = run(visible(Reach(policy), staff, List("mixed/", "", 1000), None, clock), store)
    assert len(found.found) == 100
    assert len(store.asked) == 10


@pytest.mark.parametrize("folders", [False, True])
def test_decisions_after_several_questions_add_up(folders: bool) -> None:
    """No single answer of this store is too much work, but all of them are."""
    keys = [f"mixed/{number:04}.{'png' if number % 2 else 'txt'}" for number in range(300)]
    policy, staff = compile_rules(RULES), caller(groups=["staff"])
    clock = Clock(MAX_SECONDS / 50)
    store = Names(keys, 10, clock)
    first = run(visible(Reach(policy), staff, List("mixed/", "", 1000, folders), None, clock), store)
    assert first.resume is not None
    assert 3 <= len(store.asked) <= 6
    assert 15 < len(first.found) < 30


def test_many_rules_and_deep_folders_are_judged_once_on_the_way_down() -> None:
    """Judged from the root each time, folders twice as deep would be four times the work."""

    def work(rules: int, levels: int) -> int:
        policy = compile_rules([{"path": f"**/p{number}/x.png", "allow": "signed-in"} for number in range(rules)])
        deep = ["/".join(f"d{number}{level}" for level in range(levels)) for number in range(10)]
        found = list[Listed]()
        page = visible(Reach(policy), ANN, List("", "", 10))
        count = lines_run(lambda: found.append(run(page, Names([f"{folder}/y" for folder in deep]))))
        assert found == [Listed(())]
        return count

    usual = work(rules=200, levels=100)
    assert work(rules=200, levels=200) < 2.5 * usual
    assert work(rules=1000, levels=100) - usual < 100 * 800, (
        "a rule is looked at once, not once in each of 1000 folders"
    )
