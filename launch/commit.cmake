# Writes OUT, a header that names the commit of SOURCE, where that has changed: it is run by each build.
# -DSOURCE=FOLDER -DOUT=FILE. "unknown" where SOURCE is no git checkout of its own.
set(commit unknown)
if(EXISTS ${SOURCE}/.git)
    unset(ENV{GIT_DIR})
    unset(ENV{GIT_WORK_TREE})
    unset(ENV{GIT_INDEX_FILE})
    execute_process(COMMAND git -c safe.directory=* describe --always --dirty --exclude=* --abbrev=12
                    WORKING_DIRECTORY ${SOURCE}
                    OUTPUT_VARIABLE said RESULT_VARIABLE code
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(code STREQUAL 0 AND said MATCHES "^[0-9a-f]+(-dirty)?$")
        set(commit ${said})
    endif()
endif()
set(header "#define TTT_COMMIT \"${commit}\"\n")
set(before "")
if(EXISTS ${OUT})
    file(READ ${OUT} before)
endif()
if(NOT header STREQUAL before)
    file(WRITE ${OUT} ${header})
endif()
