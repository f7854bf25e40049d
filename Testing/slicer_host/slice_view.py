"""Pictures of a slice view as the application would draw it: layers, heat map and segments, without a window.

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


def drawSliceView(name: str = "Red", size: tuple[int, int] = (512, 512)) -> NDArray[np.uint8]:
    """Draw one slice view.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Red, green and blue, top row first.
    """
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    sliceLogic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
    sliceLogic.GetSliceNode().SetDimensions(*size, 1)
    sliceLogic.UpdatePipeline()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetSize(*size)
    renderer = vtk.vtkRenderer()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    renderer.AddViewProp(_imageActor(sliceLogic))
    group = _displayableManagers(sliceLogic, renderer)
    window.Render()
    picture = _grab(window)
    group.SetMRMLDisplayableNode(None)
    window.Finalize()
    return picture


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
