"""Launchers, which Hydra finds as plugins; `conf/hydra/launcher` names them.

Hydra imports every module of `hydra_plugins` at each start, so these modules import little.
"""
