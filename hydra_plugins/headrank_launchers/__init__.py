"""Launchers of this project, where Hydra looks for plugins: `conf/hydra/launcher` names them, users never import them.

Hydra imports every module of `hydra_plugins` at each start, so these are light.
"""
