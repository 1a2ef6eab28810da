# Installs Quanta into an empty prefix, then configures, builds and runs tests/consumer against it.
#   cmake -D SOURCE=... -D BUILD=... -D TORCH=ON|OFF -P consumer.cmake
set(work ${BUILD}/consumer)
file(REMOVE_RECURSE ${work})

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/prefix)
function(consume torch)
  set(build ${work}/build-${torch})
  set(without "")
  if(NOT torch)
    # Quanta::simulate needs none of these.
    foreach(package Torch NLopt LAPACK PNG)
      list(APPEND without -DCMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
    endforeach()
  endif()
  run(${CMAKE_COMMAND} -S ${SOURCE}/tests/consumer -B ${build} -G Ninja -DCMAKE_BUILD_TYPE=Debug
      -DCMAKE_PREFIX_PATH=${work}/prefix -DCONSUMER_TORCH=${torch} ${without})
  run(${CMAKE_COMMAND} --build ${build})
  run(${build}/expectation)
  if(torch)
    run(${build}/hybrid)
  endif()
endfunction()

consume(OFF)
if(TORCH)
  consume(ON)
  run(${work}/prefix/bin/quanta --version)
endif()
file(REMOVE_RECURSE ${work})
