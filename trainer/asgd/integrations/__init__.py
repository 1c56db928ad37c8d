"""Code that is written for other trainers as tasks of ours: nothing here is imported until somebody asks for it.

What stands here uses the public API alone (`asgd.Task`, `asgd.Callback`, `asgd.errors`), as an extra of others would.
"""
