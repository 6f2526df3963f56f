# What the scripts of engines share; they source it. It fetches jars with Maven, and says when a job
# server can be used.
engines=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$engines/.cache
beam=$(sed -n 's/^apache-beam==//p' "$engines/../requirements.txt")
plugin=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

# Ends the script unless the tools are there: need TOOL...
need() {
    local tool
    for tool; do
        command -v "$tool" > /dev/null || { echo "$0: $tool is not installed" >&2; exit 1; }
    done
}

# Runs a command that needs the network up to three times, unless it ends with 2, by which it says
# that it is of no use: tries COMMAND...
tries() {
    local try status
    for try in 1 2 3; do
        status=0
        "$@" || status=$?
        [ "$status" != 0 ] || return 0
        [ "$status" != 2 ] && [ "$try" != 3 ] || return 1
        echo "$0: $1 failed: trying again" >&2
        sleep $((5 * try))
    done
}

# Fetches into a folder that takes its name when all of it is there; of what Maven says of a failure,
# the first line is the reason: fetch FOLDER ARGUMENTS...
fetch() {
    local folder=$1 said
    shift
    mkdir -p "$cache"
    rm -rf "$folder.part"
    # A server that says nothing for a minute is asked again.
    if said=$(mvn --batch-mode --quiet -Dstyle.color=never -Dmaven.wagon.rto=60000 "$@" \
        -DoutputDirectory="$folder.part" 2>&1); then
        mv "$folder.part" "$folder"
        return
    fi
    rm -rf "$folder.part"
    grep -m 1 ERROR <<< "$said" >&2 || tail -n 1 <<< "$said" >&2
    # What is not there, today or as it was found before.
    ! grep -q -e "Could not find artifact" -e "was not found in" <<< "$said" || return 2
    return 1
}

# Prints the folder of a job server's jars, and fetches them first if they are not there: the whole
# one, of the Beam in requirements.txt, or else the parts that ENGINE-parts/pom.xml names. With
# ENGINE_PARTS=1 the parts it is in any case, the same everywhere.
# jars_of ENGINE ARTIFACT [whole], where `whole` says that parts will not do.
jars_of() {
    local engine=$1 artifact=$2 wanted=${3:-} only=${ENGINE_PARTS:-} pom whole parts
    pom=$engines/$engine-parts/pom.xml
    whole=$cache/$artifact-$beam
    # By what the file says, so that what was fetched for another one is not taken.
    parts=$cache/$engine-parts-$(cksum < "$pom" | cut -d ' ' -f 1)
    if [ -z "$only" ] && [ -d "$whole" ]; then
        echo "$whole"
    elif [ -z "$wanted" ] && [ -d "$parts" ]; then
        echo "$parts"
    elif [ -z "$only" ] \
        && tries fetch "$whole" "$plugin:copy" -Dartifact="org.apache.beam:$artifact:$beam"; then
        echo "$whole"
    elif [ -n "$wanted" ]; then
        echo "$0: $artifact $beam cannot be had" >&2
        return 1
    else
        echo "$0: taking the parts of engines/$engine-parts" >&2
        tries fetch "$parts" --file "$pom" "$plugin:copy-dependencies" -DincludeScope=runtime \
            && echo "$parts"
    fi
}

# Says which flags an export needs, once something answers on the port; called before the script
# becomes the job server: say_when_ready PORT [FLAG...]
say_when_ready() {
    local port=$1 server=$$
    shift
    (
        until (: < "/dev/tcp/localhost/$port") 2> /dev/null; do
            kill -0 "$server" 2> /dev/null || exit
            sleep 0.2
        done
        echo "ready: beam-export export ... --runner=PortableRunner" \
            "--job_endpoint=localhost:$port --environment_type=LOOPBACK" "$@" >&2
    ) &
}
