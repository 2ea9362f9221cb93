"""Sweepers, which Hydra finds as plugins; `conf/hydra/sweeper` names them.

Hydra imports every module of `hydra_plugins` at each start, so these modules import little. `hydra_plugins` itself is a
namespace package that plugins share, without an `__init__.py`.
"""
