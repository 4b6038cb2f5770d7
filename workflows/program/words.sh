# Who is greeted.

words() {
    echo Ada Grace
}
