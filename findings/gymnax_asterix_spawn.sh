#!/usr/bin/env bash
# One assumes that gymnax's `Asterix-MinAtar` is MinAtar's Asterix: where a new entity
# finds all eight rows taken, nothing happens. In gymnax 1.0.1 it erases the entity of a
# random row instead; and with seven rows taken, one time in eight, it does not see the
# free one and erases another. (`while_sample_slots` begins at place 0 of a random order
# and looks from place 1 on; `step_env` writes the row it ends at, also where it is not
# free, and the entity it writes there is then marked as absent.) So a crowded board is
# easier than the original's, and gold disappears from it.
#
# Versions: gymnax 1.0.1, MinAtar 1.0.15, jax 0.10.2.
# Sources:  gymnax/environments/minatar/asterix.py, `while_sample_slots`, `spawn_entity`;
#           minatar/environments/asterix.py, `_spawn_entity` ("if all rows are filled do
#           nothing").
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gymnax==1.0.1 jax==0.10.2 jaxlib==0.10.2 six
"$folder/venv/bin/pip" install --quiet --no-deps minatar==1.0.15

"$folder/venv/bin/python" - <<'EOF'
import sys
from importlib.metadata import version

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from minatar.environments.asterix import Env

TIMES = 1000
env, params = gymnax.make("Asterix-MinAtar")
_, start = env.reset_env(jax.random.key(0), params)


def counts(numbers):
    values, times = np.unique(numbers, return_counts=True)
    return {int(v): int(t) for v, t in zip(values, times)}


def gymnax_after(taken):
    rows = [[5, row + 1, 1, 0, int(row < taken)] for row in range(8)]  # filled: last
    state = start.replace(
        entities=jnp.array(rows), spawn_timer=0, move_timer=9, player_x=0, player_y=0
    )

    def spawn(key):
        return env.step_env(key, state, 0, params)[1].entities[:, 4].sum()

    return counts(jax.jit(jax.vmap(spawn))(jax.random.split(jax.random.key(1), TIMES)))


def minatar_after(taken):
    game, found = Env(), []
    for _ in range(TIMES):
        game.reset()
        game.player_x, game.player_y, game.spawn_timer, game.move_timer = 0, 1, 0, 9
        game.entities = [[5, row + 1, True, False] for row in range(taken)]
        game.entities += [None] * (8 - taken)
        game.act(0)
        found.append(sum(entity is not None for entity in game.entities))
    return counts(found)


print(*(f"{name} {version(name)}" for name in ("gymnax", "minatar", "jax")), sep=", ")
print(f"rows taken -> rows taken after a spawn: times of {TIMES}")
seen = {}
for taken in (6, 7, 8):
    seen[taken] = gymnax_after(taken), minatar_after(taken)
    print(f"  {taken}: gymnax {seen[taken][0]}, MinAtar {seen[taken][1]}")

original = [seen[taken][1] for taken in (6, 7, 8)]
as_seen = (
    original == [{7: TIMES}, {8: TIMES}, {8: TIMES}]
    and seen[6][0] == {7: TIMES}
    and seen[8][0] == {7: TIMES}
    and set(seen[7][0]) == {6, 8}
    and 0.08 * TIMES < seen[7][0][6] < 0.17 * TIMES  # one in eight
)
print("as described" if as_seen else "this has changed")
sys.exit(not as_seen)
EOF
