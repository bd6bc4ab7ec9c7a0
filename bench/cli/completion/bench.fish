# Completion of bench in fish. `bench --install-completion` puts this file where fish finds it.
# Each line that bench answers is "name<TAB>word<TAB>what it is" or "files<TAB>suffix".
function __bench_completion
    set -l typed (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~(?=/)' $HOME -- $typed[1])
    set -e typed[1]
    for line in (env _BENCH_COMPLETE=fish $program $typed "$word" 2>/dev/null)
        set -l part (string split \t -- $line)
        switch $part[1]
            case name
                printf '%s\t%s\n' $part[2] "$part[3]"
            case files
                set -l ending (string escape --style=regex -- "$part[2]")
                __fish_complete_path "$word" | string match --entire --regex -- "^[^\t]*(?:/|$ending)(?:\t|\$)"
        end
    end
end
complete --command bench --no-files --arguments '(__bench_completion)'
