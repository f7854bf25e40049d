# The two macros of 3D Slicer that the extension calls: refuse what Slicer refuses, copy and install what it would.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY_SLICER "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_SLICER_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown keywords given to slicerMacroBuildScriptedModule(): ${MY_SLICER_UNPARSED_ARGUMENTS}")
  endif()
  set(build_folder ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  set(copied)
  foreach(file IN LISTS MY_SLICER_SCRIPTS MY_SLICER_RESOURCES)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "slicerMacroBuildScriptedModule given nonexistent file or directory '${file}'")
    endif()
    get_filename_component(folder ${file} DIRECTORY)
    install(
      FILES ${file}
      DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/${folder}
      COMPONENT RuntimeLibraries
      )
    add_custom_command(
      OUTPUT ${build_folder}/${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_SOURCE_DIR}/${file} ${build_folder}/${file}
      DEPENDS ${file}
      )
    list(APPEND copied ${build_folder}/${file})
  endforeach()
  add_custom_target(${MY_SLICER_NAME} ALL DEPENDS ${copied})
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(MY_TEST "" "SCRIPT" "" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_TEST_SCRIPT})
    message(FATAL_ERROR "slicer_add_python_unittest given nonexistent file '${MY_TEST_SCRIPT}'")
  endif()
endmacro()
