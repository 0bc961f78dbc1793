"""Representations of scenes and how to read, write and change them.

The middle floor: it may import `h3d.renderers`, never `h3d.app`. Nothing here knows of a screen.
"""
