# Installs libraries, headers, the program, and what find_package(Quanta) reads. Two export sets: what needs LibTorch and
# what does not, so a consumer of Quanta::simulate needs no LibTorch.
include(CMakePackageConfigHelpers)
set(QUANTA_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Quanta)

get_property(QUANTA_PLAIN_MODULES GLOBAL PROPERTY QUANTA_PLAIN_MODULES)
get_property(QUANTA_TORCH_MODULES GLOBAL PROPERTY QUANTA_TORCH_MODULES)
get_property(QUANTA_USES GLOBAL PROPERTY QUANTA_USES)  # lines of CMake: the modules below each
string(REPLACE ";" " " QUANTA_USES "${QUANTA_USES}")

function(_quanta_install export)
  foreach(module ${ARGN})
    install(TARGETS quanta_${module} EXPORT ${export} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
            LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/quanta/${module} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/quanta
            FILES_MATCHING PATTERN "*.h")
  endforeach()
  install(EXPORT ${export} NAMESPACE Quanta:: DESTINATION ${QUANTA_CMAKE_DIR})
endfunction()

_quanta_install(QuantaPlainTargets ${QUANTA_PLAIN_MODULES})
if(QUANTA_TORCH)
  _quanta_install(QuantaTorchTargets ${QUANTA_TORCH_MODULES})
endif()
if(TARGET quanta)
  install(TARGETS quanta RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/QuantaConfig.cmake.in ${PROJECT_BINARY_DIR}/QuantaConfig.cmake
                              INSTALL_DESTINATION ${QUANTA_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/QuantaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/QuantaConfig.cmake ${PROJECT_BINARY_DIR}/QuantaConfigVersion.cmake
        DESTINATION ${QUANTA_CMAKE_DIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
