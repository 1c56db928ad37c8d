"""What a run leaves behind for people: history.jsonl, summary.json, curves.png and the lines on the screen.

`history` writes and reads the run's lines, `summary` its last word, `series` shapes lines into curves and
bands (pure), `curves` draws them, `frame` lays out the live view and `units` writes numbers. Importing the
package loads none of them: matplotlib and rich are slow to load and stay inside `curves` and `frame`.
"""
