"""Pairs of two ordered lists that do not cross: the later layer of one never meets the earlier of the other."""

from collections.abc import Sequence


def ordered_pairs(scores: Sequence[Sequence[float]], groups: Sequence[int], count: int) -> list[tuple[int, int]]:
    """`count` pairs (row, column) of the largest sum of scores, both strictly increasing, at most one row of a group.

    `groups` numbers the rows, those of one group standing together. Fewer pairs where there are fewer groups or columns.
    Dynamic programming over what may be used so far: rows × columns × count steps. Equal sums: the earlier cells.
    """
    rows, columns = len(scores), len(scores[0]) if scores else 0
    count = min(count, len(set(groups)), columns)
    first_of = {group: groups.index(group) for group in set(groups)}
    nothing = float("-inf")
    # best[k][i][j]: the largest sum of k pairs out of the first i rows and j columns
    best = [[[0.0 if k == 0 else nothing] * (columns + 1) for _ in range(rows + 1)] for k in range(count + 1)]
    for k in range(1, count + 1):
        for i in range(1, rows + 1):
            for j in range(1, columns + 1):
                paired = scores[i - 1][j - 1] + best[k - 1][first_of[groups[i - 1]]][j - 1]
                best[k][i][j] = max(best[k][i - 1][j], best[k][i][j - 1], paired)
    pairs: list[tuple[int, int]] = []
    k, i, j = count, rows, columns
    while k:
        if best[k][i][j] == best[k][i - 1][j]:
            i -= 1
        elif best[k][i][j] == best[k][i][j - 1]:
            j -= 1
        else:
            pairs.append((i - 1, j - 1))
            k, i, j = k - 1, first_of[groups[i - 1]], j - 1
    return pairs[::-1]
