"""What only the lessons need: figures, players, the checks of the exercises, and the editions of a lesson.

    plots       one style and palette, region maps, curves over seeds
    player      a self-contained figure with time in it
    exercises   the checks, one module per lesson
    editions    book, workbook and nbgrader release from the one source of a lesson

`import minigrok` loads none of this; each module is imported where it is used.
"""
