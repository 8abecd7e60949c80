# libtorch from the PyTorch wheel: SKERRY_TORCH (variable or environment) names .../site-packages/torch.
# find_package(Torch) is not used: a wheel with CUDA makes it look for the whole CUDA toolkit, and we compile no kernels.
if(NOT SKERRY_TORCH AND DEFINED ENV{SKERRY_TORCH})
  set(SKERRY_TORCH $ENV{SKERRY_TORCH})
endif()
set(SKERRY_TORCH "${SKERRY_TORCH}" CACHE PATH "The torch package folder (.../site-packages/torch) or a libtorch folder")
if(NOT EXISTS "${SKERRY_TORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No libtorch: SKERRY_TORCH is \"${SKERRY_TORCH}\". Name the torch folder of a Python environment "
    "(pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu), or configure with -DSKERRY_WITH_TORCH=OFF.")
endif()

file(STRINGS "${SKERRY_TORCH}/include/torch/headeronly/version.h" _torch_version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
if(NOT _torch_version_lines)
  file(STRINGS "${SKERRY_TORCH}/include/torch/csrc/api/include/torch/version.h" _torch_version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
endif()
string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*" "\\1.\\2" SKERRY_TORCH_VERSION "${_torch_version_lines}")
if(SKERRY_TORCH_VERSION VERSION_LESS 2.7)
  message(FATAL_ERROR "libtorch ${SKERRY_TORCH_VERSION} in ${SKERRY_TORCH} is too old: 2.7 or newer is needed.")
endif()

add_library(skerry_torch INTERFACE)
target_include_directories(skerry_torch SYSTEM INTERFACE
  ${SKERRY_TORCH}/include ${SKERRY_TORCH}/include/torch/csrc/api/include)
target_link_options(skerry_torch INTERFACE -Wl,--as-needed)
foreach(lib torch torch_cpu c10)
  if(EXISTS "${SKERRY_TORCH}/lib/lib${lib}.so")
    target_link_libraries(skerry_torch INTERFACE ${SKERRY_TORCH}/lib/lib${lib}.so)
  endif()
endforeach()
# We call nothing in it, and without it there is no CUDA: it announces its kernels when it is loaded. What it needs itself lies in other
# wheels beside torch and is found when the program starts.
if(EXISTS "${SKERRY_TORCH}/lib/libtorch_cuda.so")
  target_link_options(skerry_torch INTERFACE -Wl,--allow-shlib-undefined)
  target_link_libraries(skerry_torch INTERFACE
    "-Wl,--push-state,--no-as-needed,${SKERRY_TORCH}/lib/libtorch_cuda.so,${SKERRY_TORCH}/lib/libc10_cuda.so,--pop-state")
endif()
# One OpenMP in the process: the one that libtorch uses.
file(GLOB _torch_gomp "${SKERRY_TORCH}/lib/libgomp*.so*")
if(_torch_gomp)
  list(GET _torch_gomp 0 _torch_gomp)
  target_link_libraries(skerry_torch INTERFACE ${_torch_gomp})
else()
  target_link_libraries(skerry_torch INTERFACE gomp)
endif()
