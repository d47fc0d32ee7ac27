"""Libraries at one work, by turns."""

import statistics
import time

from contestant import disagreement

# Threads that a library leaves spinning after a call have gone to sleep by then.
PAUSE = 0.01


def compare(work, libraries, rounds, least):
    """A row for each way to call a library. The first library is the one that others are compared with."""
    arrays = work.arrays()
    contestants = [contestant for library in libraries for contestant in library.contestants(work, arrays)]
    for contestant in contestants:
        contestant.call()
    for contestant in contestants[1:]:
        problem = disagreement(contestant, contestants[0])
        if problem:
            raise SystemExit(f"{work.name} {work.shape}: {problem}")
    times = take_turns(contestants, rounds, least)
    for contestant, seconds in zip(contestants, times):
        median = statistics.median(seconds)
        yield {
            "work": work.name,
            "shape": work.shape,
            "library": contestant.library,
            "milliseconds": 1e3 * median,
            "gigaelements_per_second": 1e-9 * work.elements / median,
            # of each round's ratio, in which both met the same machine
            "losskit_ratio": statistics.median(theirs / own for own, theirs in zip(times[0], seconds)),
        }


def take_turns(contestants, rounds, least):
    """Seconds a call, for each contestant a list with a number for each round."""
    calls = [max(1, round(least / seconds_of(contestant, 1))) for contestant in contestants]
    times = [[] for _ in contestants]
    turns = list(zip(contestants, calls, times))
    for i in range(rounds):
        # each begins a round in its turn, so that none always comes after the same one
        first = i % len(turns)
        for contestant, count, found in turns[first:] + turns[:first]:
            time.sleep(PAUSE)
            contestant.call()
            found.append(seconds_of(contestant, count))
    return times


def seconds_of(contestant, count):
    start = time.perf_counter()
    for _ in range(count):
        contestant.call()
    return (time.perf_counter() - start) / count
