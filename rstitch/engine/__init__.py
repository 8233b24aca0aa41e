"""HOW two models write one answer in this process: KV memory, runner, scheduler, engine.

The decode loop is `engine.Engine.step`.
"""
