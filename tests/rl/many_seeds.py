"""As a program: three seeds by `vmap` against each of them alone."""

import jax
import numpy as np

from auxjax.rl import A2CConfig, make_agent, make_train

config = A2CConfig(
    env="Probe-ObservationAction",
    method="olaux",
    aux=("forward", "inverse"),
    horizon=2,
    num_envs=8,
    rollout_length=4,
    frames=8 * 4 * 4,
)
begin = jax.jit(jax.vmap(make_agent(config).init))
for keys in jax.random.split(jax.random.key(1), (20, 3)):
    jax.block_until_ready(begin(keys))  # many tries: a deadlock is a matter of luck

keys = jax.random.split(jax.random.key(0), 3)
train = make_train(config)
together = jax.jit(jax.vmap(train))(keys)
alone = jax.jit(train)
for seed in range(3):
    one = alone(keys[seed])
    for part in ("params", "opt_state"):
        pairs = zip(
            jax.tree.leaves(getattr(one[0], part)),
            jax.tree.leaves(getattr(together[0], part)),
            strict=True,
        )
        for expected, found in pairs:
            np.testing.assert_allclose(found[seed], expected, rtol=1e-4, atol=1e-4)
    for expected, found in zip(one[1], together[1], strict=True):
        np.testing.assert_allclose(found[seed], expected, rtol=1e-4, atol=1e-4)
assert np.ptp(together[1].losses, axis=0).min() > 0, "the seeds differ"
print("3 seeds agree")
