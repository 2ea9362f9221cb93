"""Sweepers of this project, where Hydra looks for plugins: `conf/hydra/sweeper` names them, users never import them.

Hydra imports every module of `hydra_plugins` at each start, so these are light and `hydra_plugins` has no `__init__.py`.
"""
