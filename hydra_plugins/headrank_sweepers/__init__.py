"""Sweepers of this project, where Hydra looks for plugins: `conf/hydra/sweeper` names them, users never import them.

Hydra imports every module of `hydra_plugins` at each start, so these are light. `hydra_plugins` itself is a namespace
that plugins share: it has no `__init__.py`.
"""
