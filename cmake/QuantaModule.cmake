# quanta_module(<name> [TORCH] [USES <module>...] [LINK <library>...] [PRIVATE <library>...])
#
# Makes the library quanta_<name> (alias Quanta::<name>) of the folder's *.cpp, one test program of its *_test.cpp and one
# benchmark program of its *_bench.cpp. A new source is found by itself. USES names the modules below it, LINK and PRIVATE
# third-party libraries with and without their headers showing in ours. TORCH modules share one precompiled header.
# A main.cpp is left to the module's own CMakeLists.txt.

add_library(quanta_options INTERFACE)
target_compile_features(quanta_options INTERFACE cxx_std_20)
target_compile_options(quanta_options INTERFACE -Wall -Wextra -Wno-unknown-pragmas)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(quanta_options INTERFACE -fno-semantic-interposition)  # -fPIC must not keep calls from inlining
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 warns of its own std::string (PR 105329, PR 105651).
  target_compile_options(quanta_options INTERFACE -Wno-restrict -Wno-stringop-overflow)
endif()
if(QUANTA_WERROR)
  target_compile_options(quanta_options INTERFACE -Werror)
endif()
if(QUANTA_SANITIZE)
  target_compile_options(quanta_options INTERFACE -fsanitize=${QUANTA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(quanta_options INTERFACE -fsanitize=${QUANTA_SANITIZE})
endif()

if(QUANTA_TORCH)
  # LibTorch's headers take 20 s to parse; every TORCH target reuses this one parse. Its include folders are system folders:
  # their warnings are not ours.
  add_library(quanta_torch INTERFACE)
  target_link_libraries(quanta_torch INTERFACE ${TORCH_LIBRARIES})
  target_include_directories(quanta_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
  file(WRITE ${CMAKE_BINARY_DIR}/quanta_pch.cpp "")
  add_library(quanta_pch OBJECT ${CMAKE_BINARY_DIR}/quanta_pch.cpp)
  target_link_libraries(quanta_pch PRIVATE quanta_torch quanta_options fmt::fmt)
  target_precompile_headers(quanta_pch PRIVATE <torch/torch.h>)
endif()

function(_quanta_target target torch)
  target_link_libraries(${target} PRIVATE quanta_options)
  if(torch)
    target_precompile_headers(${target} REUSE_FROM quanta_pch)
    target_compile_options(${target} PRIVATE -fPIC)  # a program's -fPIE would not fit the header
  endif()
endfunction()

# Reading the precompiled header takes 5 s: sources of a TORCH module that do not include LibTorch go without.
function(quanta_plain_sources)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# A test program; every GoogleTest case in it is a ctest case.
function(quanta_test target)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;LINK" ${ARGN})
  add_executable(${target} ${ARG_SOURCES})
  _quanta_target(${target} ${ARG_TORCH})
  target_link_libraries(${target} PRIVATE ${ARG_LINK} GTest::gmock GTest::gtest_main)
  if(NOT ARG_TORCH AND CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${target} PRIVATE -O1)  # tests compile in half the time; what they test is optimized fully
  endif()
  target_compile_definitions(${target} PRIVATE QUANTA_SOURCE_DIR="${PROJECT_SOURCE_DIR}" QUANTA_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${target} COMMAND ${target})
  set_tests_properties(${target} PROPERTIES ENVIRONMENT "GOMP_SPINCOUNT=1000" LABELS unit)
endfunction()

function(quanta_module name)
  cmake_parse_arguments(ARG "TORCH" "" "USES;LINK;PRIVATE" ${ARGN})
  if(ARG_TORCH AND NOT QUANTA_TORCH)
    return()
  endif()
  set_property(GLOBAL APPEND_STRING PROPERTY QUANTA_USES "set(_quanta_${name}_uses ${ARG_USES})\n")
  set(target quanta_${name})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(_test|_bench|/main)\\.cpp$")
  list(TRANSFORM ARG_USES PREPEND quanta_)

  if(sources)
    set(scope PUBLIC)
    add_library(${target} ${sources})
    target_link_libraries(${target} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:quanta_options>)
    if(ARG_TORCH)
      target_precompile_headers(${target} REUSE_FROM quanta_pch)
    endif()
  else()  # headers only
    set(scope INTERFACE)
    add_library(${target} INTERFACE)
  endif()
  add_library(Quanta::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(${target} ${scope} $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>
                                                $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(${target} ${scope} cxx_std_20)
  target_link_libraries(${target} ${scope} ${ARG_USES} ${ARG_LINK})
  if(ARG_TORCH)
    # An installed module takes the LibTorch that its consumer finds (QuantaConfig.cmake).
    target_link_libraries(${target} ${scope} $<BUILD_INTERFACE:quanta_torch> $<INSTALL_INTERFACE:Quanta::torch>)
    set_property(GLOBAL APPEND PROPERTY QUANTA_TORCH_MODULES ${name})
  else()
    set_property(GLOBAL APPEND PROPERTY QUANTA_PLAIN_MODULES ${name})
  endif()

  if(QUANTA_TESTS AND tests)
    set(torch "")
    if(ARG_TORCH)
      set(torch TORCH)
    endif()
    quanta_test(${target}_test ${torch} SOURCES ${tests} LINK ${target} ${ARG_PRIVATE})
  endif()
  if(QUANTA_BENCH AND benches AND benchmark_FOUND)
    add_executable(${target}_bench ${benches})
    _quanta_target(${target}_bench "${ARG_TORCH}")
    target_link_libraries(${target}_bench PRIVATE ${target} benchmark::benchmark_main)
  endif()
endfunction()
