"""What only the lessons need: figures, players, the checks of the exercises, and the editions of a lesson.

For readers:

    plots       one style and palette, region maps, curves over seeds
    player      a self-contained figure with time in it
    exercises   the checks, one module per lesson

For those who write, teach and grade lessons:

    cells       what each cell of a lesson is
    frame       the frame that every lesson keeps
    citations   the book's citations as plain Markdown
    editions    book, workbook and nbgrader release from the one source of a lesson
    sync        an edition written beside a learner's work, never over it
    timetable   how long lessons and sessions take
    plans       the sessions that a teacher can hold
    slides      slides made from a plan
    grading     limits for what learners hand in, and their marks for a learning platform

`import minigrok` loads none of this; each module is imported where it is used.
"""
