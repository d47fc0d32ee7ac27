# What losskit's files are called on this platform, and the targets that are made of them.
if(WIN32 AND MSVC)
    set(losskit_STATIC losskit.lib)
    set(losskit_SHARED losskit.dll)
    set(losskit_IMPORT losskit.dll.lib)
elseif(WIN32)
    set(losskit_STATIC liblosskit.a)
    set(losskit_SHARED losskit.dll)
    set(losskit_IMPORT liblosskit.dll.a)
else()
    set(losskit_STATIC liblosskit.a)
    set(losskit_SHARED liblosskit${CMAKE_SHARED_LIBRARY_SUFFIX})
endif()

# What Rust's standard library needs from the system; rustc --print native-static-libs tells.
if(WIN32)
    set(losskit_NATIVE_LIBS kernel32 ntdll userenv ws2_32 dbghelp)
elseif(APPLE)
    set(losskit_NATIVE_LIBS iconv System m)
else()
    set(losskit_NATIVE_LIBS pthread dl m)
endif()

# losskit::losskit is the shared library, unless a project wants static ones.
set(losskit_IS_STATIC FALSE)
if(DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)
    set(losskit_IS_STATIC TRUE)
endif()

# losskit::losskit and losskit::static, from folders of headers, libraries and (on Windows) DLLs.
function(losskit_add_shared include_dir lib_dir bin_dir)
    add_library(losskit::losskit SHARED IMPORTED GLOBAL)
    set_target_properties(losskit::losskit PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${include_dir}")
    if(WIN32)
        set_target_properties(losskit::losskit PROPERTIES
            IMPORTED_LOCATION "${bin_dir}/${losskit_SHARED}" IMPORTED_IMPLIB "${lib_dir}/${losskit_IMPORT}")
    else()
        set_target_properties(losskit::losskit PROPERTIES IMPORTED_LOCATION "${lib_dir}/${losskit_SHARED}")
    endif()
endfunction()

function(losskit_add_static include_dir lib_dir)
    add_library(losskit::static STATIC IMPORTED GLOBAL)
    set_target_properties(losskit::static PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${include_dir}"
        INTERFACE_LINK_LIBRARIES "${losskit_NATIVE_LIBS}"
        IMPORTED_LOCATION "${lib_dir}/${losskit_STATIC}")
    if(losskit_IS_STATIC)
        add_library(losskit::losskit INTERFACE IMPORTED GLOBAL)
        set_target_properties(losskit::losskit PROPERTIES INTERFACE_LINK_LIBRARIES losskit::static)
    endif()
endfunction()
