"""As a program: several seeds by `vmap`, begun many times, then against each alone."""

import dataclasses

import jax
import numpy as np

from auxjax.rl import A2CConfig, make_agent, make_train


def main():
    """Compares, and says so."""
    jax.config.update(
        "jax_disable_most_optimizations", True
    )  # compiles in half the time

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
    for keys in jax.random.split(jax.random.key(1), (60, 3)):
        jax.block_until_ready(begin(keys))  # many tries: a deadlock is a matter of luck

    keys = jax.random.split(jax.random.key(0), 3)
    train = make_train(dataclasses.replace(config, features=16, hidden=16))
    together, alone = jax.jit(jax.vmap(train))(keys), jax.jit(train)
    for seed in range(3):
        state, metrics = alone(keys[seed])
        pairs = zip(
            jax.tree.leaves((state.params, metrics)),
            jax.tree.leaves((together[0].params, together[1])),
            strict=True,
        )
        for expected, found in pairs:
            np.testing.assert_allclose(found[seed], expected, rtol=1e-4, atol=1e-4)
    assert np.ptp(together[1].losses, axis=0).min() > 0, "the seeds differ"
    print("3 seeds agree")


if __name__ == "__main__":
    main()
