"""The drawn sample: procedural lesion photographs in the published layouts, with planted defects whose truth is known.

It exists so that the whole pipeline runs on a fresh machine without a download, and so that deduplication and the
rejection rules can be judged against a truth no public dataset has. The pictures look like skin, but they teach nothing
about skin: a release made from them is marked synthetic.
"""
