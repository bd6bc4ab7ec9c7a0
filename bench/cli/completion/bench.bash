# Completion of bench in bash. `bench --install-completion` puts this file where bash finds it.
# Each line that bench answers is "name<TAB>word<TAB>what it is" or "files<TAB>suffix".
_bench_completion() {
    local what value about file word="${COMP_WORDS[COMP_CWORD]}"
    [[ $word == "=" ]] && word=""
    COMPREPLY=()
    while IFS=$'\t' read -r what value about; do
        if [[ $what == name ]]; then
            COMPREPLY+=("$value")
        elif [[ $what == files ]]; then
            compopt -o filenames 2>/dev/null
            while IFS= read -r file; do
                [[ -n $file ]] && COMPREPLY+=("$file")
            done < <(compgen -d -- "$word"; compgen -f -X "!*$value" -- "$word")
        fi
    done < <(_BENCH_COMPLETE=bash "${1/#\~/$HOME}" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _bench_completion bench
