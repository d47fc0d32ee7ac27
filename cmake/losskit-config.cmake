# losskit as it was installed, by cmake --install, make install or cargo cinstall alike.
#
#   find_package(losskit 0.1 REQUIRED)
#   target_link_libraries(program PRIVATE losskit::losskit)     # or losskit::static
#
# A target is there if its library is; COMPONENTS shared and static ask for them. With BUILD_SHARED_LIBS=OFF losskit::losskit
# is the static library.
include("${CMAKE_CURRENT_LIST_DIR}/losskit-targets.cmake")

get_filename_component(_losskit_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_losskit_shared ${losskit_SHARED})
if(WIN32)
    set(_losskit_shared ${losskit_IMPORT})
endif()
foreach(_losskit_dir lib/${CMAKE_LIBRARY_ARCHITECTURE} lib64 lib)
    set(_losskit_lib "${_losskit_prefix}/${_losskit_dir}")
    if(EXISTS "${_losskit_lib}/${_losskit_shared}")
        set(losskit_shared_FOUND TRUE)
        if(NOT TARGET losskit::losskit AND NOT losskit_IS_STATIC)
            losskit_add_shared("${_losskit_prefix}/include" "${_losskit_lib}" "${_losskit_prefix}/bin")
        endif()
    endif()
    if(NOT TARGET losskit::static AND EXISTS "${_losskit_lib}/${losskit_STATIC}")
        losskit_add_static("${_losskit_prefix}/include" "${_losskit_lib}")
    endif()
endforeach()

if(TARGET losskit::static)
    set(losskit_static_FOUND TRUE)
endif()
if(NOT TARGET losskit::losskit AND NOT TARGET losskit::static)
    set(losskit_FOUND FALSE)
    set(losskit_NOT_FOUND_MESSAGE "There is no library of losskit in ${_losskit_prefix}.")
endif()
foreach(_losskit_component ${losskit_FIND_COMPONENTS})
    if(losskit_FIND_REQUIRED_${_losskit_component} AND NOT losskit_${_losskit_component}_FOUND)
        set(losskit_FOUND FALSE)
        set(losskit_NOT_FOUND_MESSAGE "losskit in ${_losskit_prefix} has no component ${_losskit_component}.")
    endif()
endforeach()
