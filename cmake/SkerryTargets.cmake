# Compile flags and the three ways to declare something. Nothing else in the tree sets flags.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

# Stacks need names and lines; all that -g writes makes a build three times as large.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -gz -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-g -gz")

find_package(Threads REQUIRED)

add_library(skerry_options INTERFACE)
target_compile_options(skerry_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
  $<$<CXX_COMPILER_ID:GNU>:-Wno-mismatched-new-delete>)  # g++ 12 is wrong about Asio's coroutine frames
target_include_directories(skerry_options INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(skerry_options INTERFACE Threads::Threads)
target_compile_definitions(skerry_options INTERFACE
  SKERRY_VERSION="${PROJECT_VERSION}" BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_BOOST_REGEX)
if(SKERRY_WERROR)
  target_compile_options(skerry_options INTERFACE -Werror)
endif()
if(SKERRY_SANITIZE)
  # What is found ends the program, also where the sanitizer would go on.
  target_compile_options(skerry_options INTERFACE -fsanitize=${SKERRY_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(skerry_options INTERFACE -fsanitize=${SKERRY_SANITIZE})
endif()

# skerry_library(name SOURCES ... [PUBLIC libs...] [PRIVATE libs...])
function(skerry_library name)
  cmake_parse_arguments(A "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC skerry_options ${A_PUBLIC} PRIVATE ${A_PRIVATE})
endfunction()

# skerry_exact_sources(files... [FLAGS -march=...]): float loops that must give equal bits on every machine. Vectorised,
# never contracted to fused multiply-adds, never reordered. To be called where the files' target is made.
function(skerry_exact_sources)
  cmake_parse_arguments(A "" "" "FLAGS" ${ARGN})
  set_source_files_properties(${A_UNPARSED_ARGUMENTS} PROPERTIES COMPILE_OPTIONS
    "-O3;-ffp-contract=off;-fno-fast-math;-fno-math-errno;-fno-trapping-math;${A_FLAGS}")
endfunction()

# skerry_program(name SOURCES ... LIBS ... COMPONENT node|coordinator|trainer|cli [STACKS])
function(skerry_program name)
  cmake_parse_arguments(A "STACKS" "COMPONENT" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE skerry_options ${A_LIBS})
  if(A_STACKS)  # names of functions in the stacks of a bundle
    set_target_properties(${name} PROPERTIES ENABLE_EXPORTS ON)
  endif()
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${A_COMPONENT})
endfunction()

# skerry_test(name SOURCES ... LIBS ... [LABEL unit] [TIMEOUT 60]): one gtest program, one CTest entry.
function(skerry_test name)
  if(NOT SKERRY_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "LABEL;TIMEOUT" "SOURCES;LIBS" ${ARGN})
  if(NOT A_LABEL)
    set(A_LABEL unit)
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 120)
  endif()
  add_executable(${name} ${A_SOURCES})
  target_link_libraries(${name} PRIVATE skerry_options ${A_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES LABELS ${A_LABEL} TIMEOUT ${A_TIMEOUT})
endfunction()
