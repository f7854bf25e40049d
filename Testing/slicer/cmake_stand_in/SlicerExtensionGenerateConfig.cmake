# Slicer refuses an extension whose metadata are missing; here they are written down for the test to read as well.
set(description "")
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${name}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
  string(APPEND description "${name}=${EXTENSION_${name}}\n")
endforeach()
file(WRITE ${CMAKE_BINARY_DIR}/${PROJECT_NAME}.txt "${description}")
