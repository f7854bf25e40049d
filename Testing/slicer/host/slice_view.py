"""Images of a slice view as the application would draw it: layers, attribution map and segments, without a window.

Needs a software OpenGL by EGL (Mesa: the Debian packages ``libegl1`` and ``libgl1-mesa-dri``).
"""

from __future__ import annotations

import os

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

DISPLAYABLE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)


def draw_slice_view(name: str = "Red", size: tuple[int, int] = (512, 512)) -> NDArray[np.uint8]:
    """Draw one slice view.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Red, green and blue, top row first.
    """
    view = slicer.app.layoutManager().sliceWidget(name).sliceView()
    view.resize(*size)
    view.forceRender()
    image = _grab(view.renderWindow())
    view.close()
    return image


class SliceView:
    """One slice view, drawn into a window of memory at the size that its slice node has."""

    def __init__(self, sliceLogic: slicer.vtkMRMLSliceLogic) -> None:
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        self._sliceLogic = sliceLogic
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(True)
        self._renderer = vtk.vtkRenderer()
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._renderer.AddViewProp(_imageActor(sliceLogic))
        self._group = _displayableManagers(sliceLogic, self._renderer)

    def resize(self, width: int, height: int) -> None:
        """Give the view a size (pixels)."""
        self._sliceLogic.GetSliceNode().SetDimensions(width, height, 1)

    def forceRender(self) -> None:
        """Draw the view now."""
        width, height, _ = self._sliceLogic.GetSliceNode().GetDimensions()
        self._window.SetSize(width, height)
        self._sliceLogic.UpdatePipeline()
        self._window.Render()

    def renderWindow(self) -> vtk.vtkRenderWindow:
        """Return VTK's window."""
        return self._window

    def close(self) -> None:
        """Let go of the scene and of the window's memory."""
        self._group.SetMRMLDisplayableNode(None)
        self._window.Finalize()


def _imageActor(sliceLogic: slicer.vtkMRMLSliceLogic) -> vtk.vtkActor2D:
    """Return the blended layers as an actor: one pixel of the slice to one of the window."""
    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(sliceLogic.GetImageDataConnection())
    actor = vtk.vtkActor2D()
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    return actor


def _displayableManagers(
    sliceLogic: slicer.vtkMRMLSliceLogic, renderer: vtk.vtkRenderer
) -> slicer.vtkMRMLDisplayableManagerGroup:
    """Return the managers that draw segments over the layers."""
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in DISPLAYABLE_MANAGERS:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(sliceLogic.GetSliceNode())
    return group


def _grab(window: vtk.vtkRenderWindow) -> NDArray[np.uint8]:
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1, :, :3].copy()
