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

# Fetches into a folder that takes its name when all of it is there; of what Maven says of a failure,
# the first line is the reason: fetch FOLDER ARGUMENTS...
fetch() {
    local folder=$1 said
    shift
    mkdir -p "$cache"
    rm -rf "$folder.part"
    if said=$(mvn --batch-mode --quiet "$@" -DoutputDirectory="$folder.part" 2>&1); then
        mv "$folder.part" "$folder"
    else
        rm -rf "$folder.part"
        grep -m 1 ERROR <<< "$said" >&2
        return 1
    fi
}

# Prints the folder of a job server's jars, and fetches them first if they are not there: the whole
# one, of the Beam in requirements.txt, or else the parts that ENGINE-parts/pom.xml names:
# jars_of ENGINE ARTIFACT [whole], where `whole` says that parts will not do.
jars_of() {
    local engine=$1 artifact=$2 wanted=${3:-} pom whole parts
    pom=$engines/$engine-parts/pom.xml
    whole=$cache/$artifact-$beam
    # By what the file says, so that what was fetched for another one is not taken.
    parts=$cache/$engine-parts-$(cksum < "$pom" | cut -d ' ' -f 1)
    if [ -d "$whole" ]; then
        echo "$whole"
    elif [ -z "$wanted" ] && [ -d "$parts" ]; then
        echo "$parts"
    elif fetch "$whole" "$plugin:copy" -Dartifact="org.apache.beam:$artifact:$beam"; then
        echo "$whole"
    elif [ -n "$wanted" ]; then
        echo "$0: $artifact $beam cannot be had" >&2
        return 1
    else
        echo "$0: no $artifact $beam: taking the parts of engines/$engine-parts" >&2
        fetch "$parts" --file "$pom" "$plugin:copy-dependencies" -DincludeScope=runtime \
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
