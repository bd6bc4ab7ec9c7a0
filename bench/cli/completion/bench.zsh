#compdef bench
# Completion of bench in zsh. `bench --install-completion` puts this file where zsh finds it.
# Each line that bench answers is "name<TAB>word<TAB>what it is" or "files<TAB>suffix".
_bench() {
    local line what value about suffix
    local -a names
    local -i with_files=0
    for line in "${(@f)$(_BENCH_COMPLETE=zsh ${~words[1]} "${(@Q)words[2,CURRENT]}" 2>/dev/null)}"; do
        IFS=$'\t' read -r what value about <<< "$line"
        case $what in
            name) names+=("${value//:/\\:}${about:+:$about}") ;;
            files) with_files=1 suffix=$value ;;
        esac
    done
    (( $#names )) && _describe -V 'bench' names
    if (( with_files )); then
        compset -P '--*='
        if [[ -n $suffix ]]; then _files -g "*$suffix"; else _files; fi
    fi
}
if [[ $funcstack[1] == _bench ]]; then
    _bench "$@"  # the first time, when zsh loads this file to complete a word
else
    compdef _bench bench  # read by `source`
fi
