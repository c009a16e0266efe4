"""What `use_style` does in a notebook, looked at in a kernel of its own."""

import nbformat
from nbclient import NotebookClient

SETUP = """from matplotlib import pyplot as plt
from minigrok.course import plots
plots.use_style()
plots.use_style()"""
DRAWING = """figure, ax = plt.subplots()
for told in get_ipython().events.callbacks["post_execute"][1:]:  # the first is IPython's own bookkeeping
    told()  # as at the end of each message of a control, which JupyterLab has a second thread handle
print("open:", plt.get_fignums())"""
AFTER = """print("open:", plt.get_fignums())
print([told for told in get_ipython().events.callbacks["post_execute"] if "matplotlib" in told.__module__])"""


def outputs(*sources: str) -> list[list]:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_figure_is_shown_when_its_cell_is_done_and_not_at_a_message_in_between(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # as in a notebook
    # else the first move of a control showed a picture that was not drawn yet
    _, shown, after = outputs(SETUP, DRAWING, AFTER)
    assert [output.output_type for output in shown] == ["stream", "display_data"]
    assert shown[0].text == "open: [1]\n" and "image/png" in shown[1].data
    assert [output.text for output in after] == ["open: []\n[]\n"]
